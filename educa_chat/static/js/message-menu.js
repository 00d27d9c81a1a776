/** @import { Actions } from './actions.js' */

import { buttonEl, byId, el } from './dom.js';
import { icon } from './icons.js';
import { openAt } from './popover.js';
import { text } from './strings.js';

const LONG_PRESS_MS = 500;
const MAX_DRIFT_PX = 10;
const MORE = 'M5 12h.01M12 12h.01M19 12h.01';
const MESSAGE = '.message';

/** A toolbar on the message that has the pointer or the focus, and a menu with everything the reader can do with it. */
export class MessageMenu {
  #log = byId('chat');
  #menu = byId('message-menu');
  #tools = el('div', 'tools');
  /** @type {HTMLElement | null} the element that had the focus before the menu */
  #opener = null;
  /** @type {number | undefined} */
  #press;

  #actions;
  #messageOf;
  #onAction;

  /**
   * @param {Actions} actions
   * @param {object} callbacks
   * @param {(element: Element) => ShownMessage | undefined} callbacks.messageOf
   * @param {(action: string, message: ShownMessage, anchor: HTMLElement) => void} callbacks.onAction
   */
  constructor(actions, { messageOf, onAction }) {
    this.#actions = actions;
    this.#messageOf = messageOf;
    this.#onAction = onAction;
    this.#tools.role = 'toolbar';
    this.#tools.ariaLabel = text('action.toolbar');
    this.#tools.append(
      ...['react', 'reply'].map((name) => toolOf(name, actions.iconOf(name))),
      toolOf('more', MORE),
    );
    this.#tools.addEventListener('keydown', (event) => this.#moveInTools(event));
    // Unlike `pointerover`, this event doesn't come when the log moves below a pointer that stands still.
    this.#log.addEventListener('pointermove', ({ target, pointerType }) => {
      if (pointerType !== 'touch') this.#layToolbar(messageAround(target));
    });
    this.#log.addEventListener('focusin', ({ target }) => this.#layToolbar(messageAround(target)));
    this.#log.addEventListener('pointerdown', (event) => this.#startPress(event));
    this.#log.addEventListener('contextmenu', (event) => this.#contextMenu(event));
    this.#log.addEventListener('scroll', () => clearTimeout(this.#press), { passive: true });
    this.#menu.addEventListener('keydown', (event) => this.#moveInMenu(event));
    document.addEventListener('pointerdown', ({ target }) => {
      if (target instanceof Node && !this.#menu.contains(target)) this.#close();
    });
  }

  /**
   * Opens the menu. It isn't an automatic popover, because that would close when the finger that opened it is lifted.
   *
   * @param {ShownMessage} message
   * @param {HTMLElement} anchor
   */
  open(message, anchor) {
    const offered = this.#actions.offeredOn(message);
    if (!offered.length || this.#menu.matches(':popover-open')) return;
    this.#opener = document.activeElement instanceof HTMLElement ? document.activeElement : null;
    this.#menu.replaceChildren(
      ...offered.map(({ name, icon: path, label }) => {
        const item = buttonEl(name);
        item.role = 'menuitem';
        item.dataset.name = name;
        item.append(icon(path), text(`action.${label?.(message) ?? name}`));
        item.addEventListener('click', () => {
          this.#close();
          this.#onAction(name, message, anchor);
        });
        return item;
      }),
    );
    openAt(this.#menu, anchor);
    /** @type {HTMLElement} */ (this.#menu.firstElementChild).focus();
  }

  #close() {
    if (!this.#menu.matches(':popover-open')) return;
    const hadFocus = this.#menu.contains(document.activeElement);
    this.#menu.hidePopover();
    if (hadFocus) this.#opener?.focus({ preventScroll: true });
  }

  /** @param {HTMLElement | null} element */
  #layToolbar(element) {
    if (!element || element.contains(this.#tools)) return;
    const message = this.#messageOf(element);
    const offered = message ? this.#actions.offeredOn(message) : [];
    if (!offered.length) return this.#tools.remove();
    for (const tool of this.#tools.querySelectorAll('button')) {
      tool.hidden = tool.dataset.action !== 'more' && !offered.some(({ name }) => name === tool.dataset.action);
    }
    const [first, ...others] = this.#shownTools();
    first.tabIndex = 0;
    for (const other of others) other.tabIndex = -1;
    element.append(this.#tools);
  }

  #shownTools() {
    return [...this.#tools.querySelectorAll('button')].filter(({ hidden }) => !hidden);
  }

  /** @param {KeyboardEvent} event */
  #moveInTools(event) {
    const tools = this.#shownTools();
    const rightwards = getComputedStyle(this.#tools).direction === 'rtl' ? -1 : 1;
    const step = { ArrowRight: rightwards, ArrowLeft: -rightwards }[event.key];
    if (event.key === 'Escape') messageAround(this.#tools)?.focus({ preventScroll: true });
    if (!step) return;
    event.preventDefault();
    const index = tools.findIndex((tool) => tool === document.activeElement);
    tools[(index + step + tools.length) % tools.length].focus();
  }

  /** @param {KeyboardEvent} event */
  #moveInMenu(event) {
    const items = /** @type {HTMLElement[]} */ ([...this.#menu.children]);
    const index = items.findIndex((item) => item === document.activeElement);
    const goal = {
      ArrowDown: (index + 1) % items.length,
      ArrowUp: (index - 1 + items.length) % items.length,
      Home: 0,
      End: items.length - 1,
    }[event.key];
    if (event.key === 'Escape' || event.key === 'Tab') this.#close();
    else if (goal !== undefined) items[goal].focus();
    else return;
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  #startPress({ pointerType, target, clientX, clientY }) {
    clearTimeout(this.#press);
    const element = messageAround(target);
    if (pointerType !== 'touch' || !element || isLinkOrButton(target)) return;
    this.#press = setTimeout(() => this.#openOn(element), LONG_PRESS_MS);
    const over = new AbortController();
    const give = () => {
      clearTimeout(this.#press);
      over.abort();
    };
    for (const end of ['pointerup', 'pointercancel']) addEventListener(end, give, { signal: over.signal });
    addEventListener(
      'pointermove',
      (event) => Math.hypot(event.clientX - clientX, event.clientY - clientY) > MAX_DRIFT_PX && give(),
      { signal: over.signal },
    );
  }

  /** @param {MouseEvent} event  of a long press, if the browser knows one; a mouse opens the browser's own menu */
  #contextMenu(event) {
    const element = messageAround(event.target);
    if (!('pointerType' in event) || event.pointerType !== 'touch' || !element || isLinkOrButton(event.target)) return;
    event.preventDefault();
    this.#openOn(element);
  }

  /** @param {HTMLElement} element  on which a finger rests */
  #openOn(element) {
    const message = this.#messageOf(element);
    // If the menu opens below the finger, lifting the finger must not choose an item.
    element.addEventListener('touchend', (event) => event.preventDefault(), { once: true });
    if (message) this.open(message, element.querySelector('.body') ?? element);
  }
}

/**
 * @param {string} name
 * @param {string} path  of its icon
 */
function toolOf(name, path) {
  const tool = buttonEl();
  tool.dataset.action = name;
  tool.ariaLabel = text(`action.${name}`);
  tool.title = text(`action.${name}`);
  if (name === 'more') tool.ariaHasPopup = 'menu';
  tool.append(icon(path));
  return tool;
}

/**
 * @param {EventTarget | null} target
 * @returns {HTMLElement | null}
 */
function messageAround(target) {
  return target instanceof Element ? target.closest(MESSAGE) : null;
}

/** @param {EventTarget | null} target */
function isLinkOrButton(target) {
  return target instanceof Element && target.closest('a, button') !== null;
}
