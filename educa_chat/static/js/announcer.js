/** @import { ShownMessage } from './message-view.js' */

import { make } from './message-view.js';
import { byId } from './page-data.js';
import { plural, text } from './strings.js';

const AT_ONCE = 3;
const AFTER = 400;

/** Reads out what is new, from a region of its own: what is added to the log itself may be history. */
export class Announcer {
  #region = byId('announcer');
  /** @type {ShownMessage[]} */
  #unread = [];
  /** @type {number | undefined} */
  #timer;

  /** @param {ShownMessage} message */
  announce(message) {
    this.#unread.push(message);
    this.#timer ??= setTimeout(() => this.#readOut(), AFTER);
  }

  #readOut() {
    const lines = this.#unread.length > AT_ONCE
      ? [plural('log.new_messages', this.#unread.length)]
      : this.#unread.map(({ name, message }) => text('log.announcement', { name, message }));
    this.#region.replaceChildren(...lines.map((line) => make('p', '', line)));
    this.#unread = [];
    this.#timer = undefined;
  }
}
