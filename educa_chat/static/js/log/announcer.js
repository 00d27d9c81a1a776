import { byId, el } from '../dom.js';
import { plural, text } from '../strings.js';

const MAX_AT_ONCE = 3;
const DELAY_MS = 400;

/** Lets screen readers read new messages, in a live region: what is added to the log itself may be history. */
export class Announcer {
  #region = byId('announcer');
  /** @type {ShownMessage[]} */
  #unread = [];
  /** @type {number | undefined} */
  #timer;

  /** @param {ShownMessage} message */
  announce(message) {
    this.#unread.push(message);
    this.#timer ??= setTimeout(() => this.#readOut(), DELAY_MS);
  }

  #readOut() {
    const lines = this.#unread.length > MAX_AT_ONCE
      ? [plural('log.new_messages', this.#unread.length)]
      : this.#unread.map(({ name, message }) => text('log.announcement', { name, message }));
    this.#region.replaceChildren(...lines.map((line) => el('p', '', line)));
    this.#unread = [];
    this.#timer = undefined;
  }
}
