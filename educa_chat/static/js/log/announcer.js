import { byId, el } from '../dom.js';
import { plainOf } from '../excerpt.js';
import { plural, text } from '../strings.js';

const MAX_AT_ONCE = 3;
const DELAY_MS = 400;

/** Announces new messages to screen readers in a separate live region, because rows added to the log may be history. */
export class Announcer {
  #region = byId('announcer');
  /** @type {ShownMessage[]} */
  #unread = [];
  /** @type {number | undefined} */
  #timer;
  #mentions;

  /** @param {() => MentionNames} mentions */
  constructor(mentions) {
    this.#mentions = mentions;
  }

  /** @param {ShownMessage} message */
  announce(message) {
    this.#unread.push(message);
    // Loads the names, which are needed a moment later.
    plainOf(message, this.#mentions());
    this.#timer ??= setTimeout(() => this.#readOut(), DELAY_MS);
  }

  /** @param {number} seq  of a message that was edited or deleted: its former text is no longer announced */
  forget(seq) {
    this.#unread = this.#unread.filter((message) => message.seq !== seq);
    this.#region.querySelector(`[data-seq="${seq}"]`)?.remove();
  }

  #readOut() {
    const lines = this.#unread.length > MAX_AT_ONCE
      ? [el('p', '', plural('log.new_messages', this.#unread.length))]
      : this.#unread.map((message) => {
          const line = el('p', '', text('log.announcement', { name: message.name, message: plainOf(message, this.#mentions()) }));
          line.dataset.seq = String(message.seq);
          return line;
        });
    this.#region.replaceChildren(...lines);
    this.#unread = [];
    this.#timer = undefined;
  }
}
