/** @import { Frame, Page } from './protocol.js' */
/** @import { ShownMessage } from './message-view.js' */

import { changed } from './message-state.js';

const KEPT = 500;
const LINES = ['closed', 'slowed', 'muted', 'anonymity'];

/**
 * What has happened of late. A page of messages may have been asked for before an event and come after it: this brings it up
 * to date. A message that is newer than the event is not changed by it.
 */
export class RecentEvents {
  /** @type {Frame[]} */
  #events = [];

  /** @param {Frame} event */
  add(event) {
    this.#events.push(event);
    if (this.#events.length > KEPT) this.#events.shift();
  }

  /** They were of another history. */
  forget() {
    this.#events = [];
  }

  /**
   * @param {Page} page
   * @returns {ShownMessage[]} its messages as they stand now
   */
  upToDate({ messages }) {
    return messages.map((message) => this.#changed(message));
  }

  /**
   * @param {number} head
   * @returns {boolean} whether nothing is missing of what came behind it
   */
  reaches(head) {
    return this.#events.length < KEPT || this.#events[0].seq <= head + 1;
  }

  /**
   * @param {number} head
   * @returns {ShownMessage[]} what was said behind it, as it stands now
   */
  saidAfter(head) {
    const said = this.#events.filter(({ type, seq }) => type === 'chat_message' && seq > head);
    return said.map((message) => this.#changed(/** @type {any} */ (message)));
  }

  /**
   * @param {number} head
   * @returns {Frame[]} what stands between the messages behind it
   */
  linesAfter(head) {
    return this.#events.filter(({ type, seq }) => LINES.includes(type) && seq > head);
  }

  /** @param {ShownMessage} message */
  #changed(message) {
    return this.#events.filter(({ target }) => target === message.seq).reduce(changed, message);
  }
}
