/** @import { Icon } from './icons.js' */
/** @import { ShownMessage } from './message-view.js' */

import { icon } from './icons.js';
import { make } from './message-view.js';
import { byId } from './page-data.js';
import { openAt } from './popover.js';
import { text } from './strings.js';

const LONG_PRESS = 500;
const STILL = 10;
const EDITABLE_FOR = 24 * 3600_000;
const MESSAGE = '.message';

/**
 * @typedef {object} Who  The reader, as far as it decides what she may do.
 * @property {boolean} isInstructor
 * @property {boolean} mayWrite  now
 * @property {(seq: number) => boolean} isOwn  of a message that is shown
 */

/**
 * What is offered on a message, in the order in which it is offered; what is refused all the same says so.
 *
 * @type {{name: Icon, label: (message: ShownMessage) => string, may: (message: ShownMessage, who: Who) => boolean}[]}
 */
const ACTIONS = [
  { name: 'react', label: () => 'react', may: (_, { mayWrite }) => mayWrite },
  { name: 'reply', label: () => 'reply', may: (_, { mayWrite }) => mayWrite },
  { name: 'edit', label: () => 'edit', may: isEditable },
  { name: 'copy', label: () => 'copy', may: () => true },
  {
    name: 'answer',
    label: ({ answered }) => (answered ? 'not_answer' : 'answer'),
    may: ({ reply_to: target }, { isInstructor, mayWrite, isOwn }) =>
      Boolean(target) && (isInstructor || (mayWrite && isOwn(target ?? 0))),
  },
  {
    name: 'question',
    label: ({ question }) => (question ? 'not_question' : 'question'),
    may: ({ own }, who) => who.isInstructor || (who.mayWrite && own),
  },
  {
    name: 'endorse',
    label: ({ endorsed }) => (endorsed ? 'not_endorse' : 'endorse'),
    may: ({ role }, { isInstructor }) => isInstructor && role === 'student',
  },
  { name: 'pin', label: ({ pinned }) => (pinned ? 'unpin' : 'pin'), may: (_, { isInstructor }) => isInstructor },
  { name: 'mute', label: () => 'mute', may: ({ role }, { isInstructor }) => isInstructor && role === 'student' },
  { name: 'report', label: () => 'report', may: ({ own }) => !own },
  { name: 'delete', label: () => 'delete', may: ({ own }, who) => who.isInstructor || own },
];

/** A toolbar on the message that is pointed at or has the focus, and a menu with everything that can be done with it. */
export class Actions {
  #log = byId('chat');
  #menu = byId('message-menu');
  #tools = make('div', 'tools');
  /** @type {HTMLElement | null} what had the focus before the menu */
  #opener = null;
  /** @type {number | undefined} */
  #press;

  #who;
  #messageOf;
  #onAction;

  /**
   * @param {object} ways
   * @param {Who} ways.who
   * @param {(element: Element) => ShownMessage | undefined} ways.messageOf
   * @param {(action: string, message: ShownMessage, anchor: HTMLElement) => void} ways.onAction
   */
  constructor({ who, messageOf, onAction }) {
    this.#who = who;
    this.#messageOf = messageOf;
    this.#onAction = onAction;
    this.#tools.role = 'toolbar';
    this.#tools.ariaLabel = text('action.toolbar');
    this.#tools.append(...['react', 'reply', 'more'].map((name) => toolOf(/** @type {Icon} */ (name))));
    this.#tools.addEventListener('keydown', (event) => this.#moveInTools(event));
    // Unlike `pointerover` it does not come when the log moves below a pointer that was left there.
    this.#log.addEventListener('pointermove', ({ target, pointerType }) => {
      if (pointerType !== 'touch') this.#lay(messageAround(target));
    });
    this.#log.addEventListener('focusin', ({ target }) => this.#lay(messageAround(target)));
    this.#log.addEventListener('pointerdown', (event) => this.#pressed(event));
    this.#log.addEventListener('contextmenu', (event) => this.#contextMenu(event));
    this.#log.addEventListener('scroll', () => clearTimeout(this.#press), { passive: true });
    this.#menu.addEventListener('keydown', (event) => this.#moveInMenu(event));
    document.addEventListener('pointerdown', ({ target }) => {
      if (target instanceof Node && !this.#menu.contains(target)) this.#close();
    });
  }

  /**
   * The menu is no automatic popover: that one closes when the finger that opened it is lifted.
   *
   * @param {ShownMessage} message
   * @param {HTMLElement} anchor
   */
  open(message, anchor) {
    const offered = this.#offeredOn(message);
    if (!offered.length || this.#menu.matches(':popover-open')) return;
    this.#opener = document.activeElement instanceof HTMLElement ? document.activeElement : null;
    this.#menu.replaceChildren(
      ...offered.map(({ name, label }) => {
        const item = make('button', name);
        item.type = 'button';
        item.role = 'menuitem';
        item.dataset.name = name;
        item.append(icon(name), text(`action.${label(message)}`));
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

  /** @param {ShownMessage} message */
  #offeredOn(message) {
    if (!message.seq || message.deleted) return [];
    return ACTIONS.filter(({ may }) => may(message, this.#who));
  }

  /** @param {HTMLElement | null} element */
  #lay(element) {
    if (!element || element.contains(this.#tools)) return;
    const message = this.#messageOf(element);
    const offered = message ? this.#offeredOn(message) : [];
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
    const place = tools.findIndex((tool) => tool === document.activeElement);
    tools[(place + step + tools.length) % tools.length].focus();
  }

  /** @param {KeyboardEvent} event */
  #moveInMenu(event) {
    const items = /** @type {HTMLElement[]} */ ([...this.#menu.children]);
    const place = items.findIndex((item) => item === document.activeElement);
    const goal = {
      ArrowDown: (place + 1) % items.length,
      ArrowUp: (place - 1 + items.length) % items.length,
      Home: 0,
      End: items.length - 1,
    }[event.key];
    if (event.key === 'Escape' || event.key === 'Tab') this.#close();
    else if (goal !== undefined) items[goal].focus();
    else return;
    event.preventDefault();
  }

  /** @param {PointerEvent} event */
  #pressed({ pointerType, target, clientX, clientY }) {
    clearTimeout(this.#press);
    const element = messageAround(target);
    if (pointerType !== 'touch' || !element || isLinkOrButton(target)) return;
    this.#press = setTimeout(() => this.#openOn(element), LONG_PRESS);
    const over = new AbortController();
    const give = () => {
      clearTimeout(this.#press);
      over.abort();
    };
    for (const end of ['pointerup', 'pointercancel']) addEventListener(end, give, { signal: over.signal });
    addEventListener(
      'pointermove',
      (event) => Math.hypot(event.clientX - clientX, event.clientY - clientY) > STILL && give(),
      { signal: over.signal },
    );
  }

  /** @param {MouseEvent} event  of a long press, where the browser knows one; that of a mouse is the browser's own */
  #contextMenu(event) {
    const element = messageAround(event.target);
    if (!('pointerType' in event) || event.pointerType !== 'touch' || !element || isLinkOrButton(event.target)) return;
    event.preventDefault();
    this.#openOn(element);
  }

  /** @param {HTMLElement} element  on which a finger rests */
  #openOn(element) {
    const message = this.#messageOf(element);
    // Where the menu opens below the finger, lifting that chooses nothing.
    element.addEventListener('touchend', (event) => event.preventDefault(), { once: true });
    if (message) this.open(message, element.querySelector('.body') ?? element);
  }
}

/** @param {Icon} name */
function toolOf(name) {
  const tool = make('button');
  tool.type = 'button';
  tool.dataset.action = name;
  tool.ariaLabel = text(`action.${name}`);
  tool.title = text(`action.${name}`);
  if (name === 'more') tool.ariaHasPopup = 'menu';
  tool.append(icon(name));
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

/**
 * @param {ShownMessage} message
 * @param {Who} who
 */
export function isEditable({ own, datetime, deleted }, who) {
  return !deleted && own && who.mayWrite && Date.now() - Date.parse(datetime) < EDITABLE_FOR;
}
