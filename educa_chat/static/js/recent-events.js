import { kindOf } from './events/registry.js';
import { changed } from './message-state.js';

const MAX_EVENTS = 500;

/**
 * The last events. A page of messages may have been requested before an event and arrive after it: these events bring
 * it up to date. An event doesn't change a message that already includes it.
 */
export class RecentEvents {
  /** @type {Frame[]} */
  #events = [];

  /** @param {Frame} event */
  add(event) {
    this.#events.push(event);
    if (this.#events.length > MAX_EVENTS) this.#events.shift();
  }

  /** The room has another history now. */
  forget() {
    this.#events = [];
  }

  /**
   * @param {Page} page
   * @returns {ShownMessage[]} its messages in their current state
   */
  upToDate({ messages }) {
    return messages.map((message) => this.#changed(message));
  }

  /**
   * @param {number} head
   * @returns {boolean} whether all events after it are here
   */
  reaches(head) {
    return this.#events.length < MAX_EVENTS || this.#events[0].seq <= head + 1;
  }

  /**
   * @param {number} head
   * @returns {ShownMessage[]} the messages after it, in their current state
   */
  messagesAfter(head) {
    const messages = this.#events.filter((event) => kindOf(event)?.isMessage && event.seq > head);
    return messages.map((message) => this.#changed(/** @type {any} */ (message)));
  }

  /**
   * @param {number} head
   * @returns {Frame[]} the events after it that the log shows as system messages
   */
  systemMessagesAfter(head) {
    return this.#events.filter((event) => kindOf(event)?.systemMessage && event.seq > head);
  }

  /** @param {ShownMessage} message */
  #changed(message) {
    return this.#events.filter(({ target }) => target === message.seq).reduce(changed, message);
  }
}
