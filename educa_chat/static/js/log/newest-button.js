import { byId } from '../dom.js';
import { plural, text } from '../strings.js';

/** The button that leads to the newest message, with the number of messages that came since the reader left it. */
export class NewestButton {
  #button = byId('to-newest');
  #unseen = 0;

  /** @param {() => void} onClick */
  constructor(onClick) {
    this.#button.addEventListener('click', onClick);
  }

  get hasFocus() {
    return this.#button === document.activeElement;
  }

  /** Another message has come that the reader does not see. */
  count() {
    this.#unseen += 1;
  }

  /** All messages have been read. */
  clear() {
    this.#unseen = 0;
  }

  /** @param {boolean} isAtBottom  whether the reader sees the newest message */
  show(isAtBottom) {
    if (isAtBottom) this.clear();
    const label = this.#unseen ? plural('log.new_messages', this.#unseen) : '';
    this.#button.hidden = isAtBottom;
    this.#button.ariaLabel = label || text('log.to_newest');
    /** @type {HTMLElement} */ (this.#button.firstElementChild).textContent = label;
  }
}
