import { buttonEl } from '../dom.js';
import { text } from '../strings.js';

/**
 * Messages that are too long to be shown whole: they fade out, with a button that shows the rest. The style sheet limits the
 * height of every message, so nothing moves when it turns out that one is too long.
 */
export class LongMessages {
  /** @type {Set<string>} the ids of the messages that the reader has expanded */
  #expanded = new Set();
  /** @type {WeakMap<Element, string>} from the bodies to the ids of their messages */
  #ids = new WeakMap();
  #observer = new ResizeObserver((entries) => {
    const cut = entries.map(({ target }) => target).filter((body) => !this.#isMarked(body) && body.scrollHeight > body.clientHeight + 1);
    if (cut.length) this.#onChange(() => cut.forEach((body) => this.#mark(body)));
  });
  #onChange;
  #onToggled;

  /**
   * @param {object} callbacks
   * @param {(change: () => void) => void} callbacks.onChange  makes the change, which moves other messages
   * @param {(element: HTMLElement) => void} callbacks.onToggled  the reader has expanded or collapsed a message
   */
  constructor({ onChange, onToggled }) {
    this.#onChange = onChange;
    this.#onToggled = onToggled;
  }

  /**
   * @param {HTMLElement} element  of a message, which has not been shown yet
   * @param {ShownMessage} message
   */
  watch(element, { seq, id }) {
    const body = /** @type {HTMLElement} */ (element.querySelector('.body'));
    const key = String(seq || id);
    this.#ids.set(body, key);
    if (this.#expanded.has(key)) this.#mark(body);
    else this.#observer.observe(body);
  }

  /** @param {Element} body */
  #isMarked(body) {
    return body.nextElementSibling?.classList.contains('expand');
  }

  /** @param {Element} body */
  #mark(body) {
    const element = /** @type {HTMLElement} */ (body.parentElement);
    const button = buttonEl('quiet expand');
    button.tabIndex = element.tabIndex;
    button.setAttribute('aria-controls', body.id);
    button.addEventListener('click', () => this.#toggle(body, button));
    // The browser scrolls to what it has found or focused in the hidden part.
    body.addEventListener('scroll', () => element.classList.contains('long') && this.#toggle(body, button));
    body.after(button);
    this.#show(element, button, !this.#expanded.has(this.#ids.get(body) ?? ''));
  }

  /**
   * @param {Element} body
   * @param {HTMLButtonElement} button
   */
  #toggle(body, button) {
    const element = /** @type {HTMLElement} */ (body.parentElement);
    const key = this.#ids.get(body) ?? '';
    const isExpanded = this.#expanded.delete(key);
    if (!isExpanded) this.#expanded.add(key);
    this.#show(element, button, isExpanded);
    this.#onToggled(element);
  }

  /**
   * @param {HTMLElement} element
   * @param {HTMLButtonElement} button
   * @param {boolean} isCollapsed
   */
  #show(element, button, isCollapsed) {
    element.classList.toggle('long', isCollapsed);
    element.classList.toggle('expanded', !isCollapsed);
    button.ariaExpanded = String(!isCollapsed);
    button.textContent = text(isCollapsed ? 'message.expand' : 'message.collapse');
  }
}
