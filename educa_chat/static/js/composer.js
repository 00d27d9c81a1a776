import { byId } from './page-data.js';
import * as storage from './storage.js';
import { plural } from './strings.js';

const NEAR_LIMIT = 0.9;
const touch = matchMedia('(pointer: coarse)');

/** Where the reader writes. What is not sent yet is kept as a draft. */
export class Composer {
  #limit = 0;
  #form = byId('chat-input');
  #input = /** @type {HTMLTextAreaElement} */ (byId('chat-message-input'));
  #count = byId('composer-count');
  #draft;
  #onMessage;

  /**
   * @param {object} how
   * @param {string} how.place  the part of the storage that is its own
   * @param {(message: string) => void} how.onMessage
   */
  constructor({ place, onMessage }) {
    this.#draft = `draft:${place}`;
    this.#onMessage = onMessage;
    this.#input.value ||= storage.read(this.#draft) ?? '';
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#input.addEventListener('keydown', (event) => this.#key(event));
    this.#input.addEventListener('input', () => this.#changed());
    // On a phone the focus would open the keyboard over the messages.
    if (!touch.matches) this.#input.focus();
  }

  /** @param {number} length  that a message may have; 0 is no limit */
  limitTo(length) {
    this.#limit = length || Infinity;
    this.#show();
  }

  /** @param {boolean} isOpen  whether anything can be written */
  open(isOpen) {
    this.#form.inert = !isOpen;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    // Safari ends a composition before the key that ended it; 229 tells it from a real Enter.
    const composing = event.isComposing || event.keyCode === 229;
    if (event.key !== 'Enter' || event.shiftKey || event.altKey || composing) return;
    if (touch.matches && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.#send();
  }

  #send() {
    const message = this.#input.value.trim();
    this.#input.focus();
    if (!message || lengthOf(message) > this.#limit) return;
    this.#onMessage(message);
    this.#input.value = '';
    this.#changed();
  }

  #changed() {
    if (this.#input.value) storage.write(this.#draft, this.#input.value);
    else storage.remove(this.#draft);
    this.#show();
  }

  #show() {
    this.#grow();
    const left = this.#limit - lengthOf(this.#input.value.trim());
    const isNear = left < this.#limit * (1 - NEAR_LIMIT);
    this.#count.textContent = isNear ? plural(left < 0 ? 'composer.over' : 'composer.left', Math.abs(left)) : '';
    this.#input.ariaInvalid = left < 0 ? 'true' : null;
  }

  /** Where `field-sizing` does it, the style sheet lets the field grow. */
  #grow() {
    if (CSS.supports('field-sizing', 'content')) return;
    this.#input.style.blockSize = 'auto';
    this.#input.style.blockSize = `${this.#input.scrollHeight}px`;
  }
}

/** @param {string} message  counted as the server does: code points after NFC */
function lengthOf(message) {
  return [...message.normalize('NFC')].length;
}
