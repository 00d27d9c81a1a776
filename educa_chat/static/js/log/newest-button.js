import { byId } from '../dom.js';
import { plural, text } from '../strings.js';

/** The button that jumps to the newest message. It shows how many messages arrived since the reader scrolled away. */
export class NewestButton {
  #button = byId('to-newest');
  /** @type {Set<number>} the seqs of the messages that arrived since the reader left the newest one */
  #unseen = new Set();

  /** @param {() => void} onClick */
  constructor(onClick) {
    this.#button.addEventListener('click', onClick);
  }

  get hasFocus() {
    return this.#button === document.activeElement;
  }

  /** @param {number} seq  of a message that has arrived, and that the reader doesn't see */
  count(seq) {
    this.#unseen.add(seq);
  }

  /** @param {number} seq  of a message that was deleted */
  uncount(seq) {
    this.#unseen.delete(seq);
  }

  /** All messages have been read. */
  clear() {
    this.#unseen.clear();
  }

  /** @param {boolean} isAtBottom  whether the reader sees the newest message */
  show(isAtBottom) {
    if (isAtBottom) this.clear();
    const label = this.#unseen.size ? plural('log.new_messages', this.#unseen.size) : '';
    this.#button.hidden = isAtBottom;
    this.#button.ariaLabel = label || text('log.to_newest');
    /** @type {HTMLElement} */ (this.#button.firstElementChild).textContent = label;
  }
}
