/** @import { RecentEvents } from '../recent-events.js' */

import { ApiRefusal, loadMessagesAt } from '../history.js';
import { changed } from '../message-state.js';

const KEPT = 500;
const AT_ONCE = 50;
const GATHERED_FOR = 30;
const AGAIN_AFTER = 10_000;

/**
 * Messages that others refer to and that may not be in the log: those that were replied to or pinned. They are
 * requested on demand, several in one request, and kept up to date.
 */
export class Originals {
  /** @type {Map<number, ShownMessage | null>} null if there is no such message; the oldest first */
  #known = new Map();
  /** @type {Map<number, Promise<void>>} */
  #asked = new Map();
  /** @type {{seqs: number[], answer: Promise<void>} | undefined} the request that is still being collected */
  #question;
  #room;
  #recent;
  #onKnown;

  /**
   * @param {object} how
   * @param {number | string} how.room
   * @param {RecentEvents} how.recent
   * @param {(seqs: number[]) => void} how.onKnown  the requested messages; those that failed can be requested again
   */
  constructor({ room, recent, onKnown }) {
    this.#room = room;
    this.#recent = recent;
    this.#onKnown = onKnown;
  }

  /** They were of another history. */
  forget() {
    this.#known.clear();
    this.#asked.clear();
    this.#question = undefined;
  }

  /**
   * @param {number} seq
   * @returns {ShownMessage | undefined} the message if it is known; otherwise, it is requested
   */
  of(seq) {
    if (!this.#known.has(seq)) this.#ask(seq).catch(() => {});
    return this.#known.get(seq) ?? undefined;
  }

  /**
   * @param {number} seq
   * @returns {Promise<ShownMessage | undefined>} undefined if there is no such message
   * @throws {ApiRefusal} and what `fetch` throws without a connection
   */
  async find(seq) {
    if (!this.#known.has(seq)) await this.#ask(seq);
    return this.#known.get(seq) ?? undefined;
  }

  /**
   * Requests the message again: more may have changed than the event says.
   *
   * @param {number} seq
   */
  refetch(seq) {
    this.#known.delete(seq);
    this.#asked.delete(seq);
    this.#question = undefined;
    return this.find(seq);
  }

  /** @param {ShownMessage} message  that is already known */
  learn(message) {
    const known = this.#known.get(message.seq);
    if (known && (known.asOf ?? 0) > (message.asOf ?? 0)) return;
    this.#known.delete(message.seq);
    this.#known.set(message.seq, message);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= KEPT) break;
      this.#known.delete(oldest);
    }
  }

  /** @param {Frame} event  that changes a message */
  change(event) {
    const message = this.#known.get(event.target);
    if (message) this.#known.set(event.target, changed(message, event));
  }

  /** @param {number} seq */
  #ask(seq) {
    const asked = this.#asked.get(seq);
    if (asked) return asked;
    if (!this.#question || this.#question.seqs.length === AT_ONCE) {
      /** @type {number[]} */
      const seqs = [];
      this.#question = { seqs, answer: this.#load(seqs) };
    }
    this.#question.seqs.push(seq);
    this.#asked.set(seq, this.#question.answer);
    return this.#question.answer;
  }

  /** @param {number[]} seqs  which are being gathered */
  async #load(seqs) {
    await new Promise((resolve) => setTimeout(resolve, GATHERED_FOR));
    if (this.#question?.seqs === seqs) this.#question = undefined;
    try {
      const page = await loadMessagesAt(this.#room, seqs);
      // In the meantime, everything may have been forgotten.
      const wanted = seqs.filter((seq) => this.#asked.has(seq));
      for (const seq of wanted) if (!this.#known.has(seq)) this.#known.set(seq, null);
      for (const message of this.#recent.upToDate(page)) if (this.#asked.has(message.seq)) this.learn(message);
      this.#forgetAsked(seqs);
      this.#onKnown(wanted);
    } catch (error) {
      this.#forgetAsked(seqs);
      const isFinal = error instanceof ApiRefusal && !error.isPassing;
      if (!isFinal) setTimeout(() => this.#onKnown(seqs), AGAIN_AFTER);
      throw error;
    }
  }

  /** @param {number[]} seqs */
  #forgetAsked(seqs) {
    for (const seq of seqs) this.#asked.delete(seq);
  }
}
