import { byId } from '../dom.js';
import { PREFETCH_PX } from './trimming.js';

/** The top of the log: there are older messages, they could not be loaded, or there are none. */
export class LogTop {
  #log = byId('chat');
  #beginning = byId('beginning');
  #retry = byId('older-retry');
  #observer;

  /** The first element of the log. */
  element = /** @type {HTMLElement} */ (this.#log.querySelector('.log-top'));

  /** @param {() => void} onNear  the reader is near the oldest message */
  constructor(onNear) {
    this.#retry.addEventListener('click', () => this.watch());
    this.#observer = new IntersectionObserver(
      (entries) => {
        if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
        this.#observer.disconnect();
        onNear();
      },
      { root: this.#log, rootMargin: `${PREFETCH_PX}px 0px 0px` },
    );
  }

  /** Whether the first message of the room is shown. */
  get isBeginning() {
    return !this.#beginning.hidden;
  }

  /** There may be older messages: waits until the reader is near the oldest one, which may already be the case. */
  watch() {
    this.#retry.hidden = true;
    this.#beginning.hidden = true;
    this.#observer.disconnect();
    this.#observer.observe(this.element);
  }

  /** There are no older messages. */
  showBeginning() {
    this.#beginning.hidden = false;
  }

  showFailed() {
    this.#retry.hidden = false;
  }

  /** @param {Element} [until]  everything between the top and this element is removed */
  removeBelow(until) {
    while (this.element.nextElementSibling && this.element.nextElementSibling !== until) {
      this.element.nextElementSibling.remove();
    }
  }
}
