/** @import { Refusal } from './protocol.js' */

import * as storage from './storage.js';

const ACK_WITHIN = 10_000;
const TRIES = 5;
const PASSING = new Set(['rate_limited', 'slow_mode', 'unavailable']);

/**
 * @typedef {object} Entry  What the reader has said and the room has not yet stored.
 * @property {string} id
 * @property {string} message
 * @property {string} datetime  when it was written
 * @property {string} [failure]  the code of the error that it was given up for
 * @property {number} tries
 * @property {number} [dueAt]  when it is tried again, where that is later
 */

/**
 * Sends one message after the other, each until it is stored, so that they keep their order; what waits survives a
 * reload. Each is stored under a key of its own: several windows of one person may share them, and a message that two
 * of them send is still one message, because its id is the same.
 */
export class Outbox {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** @type {string | null} the id that waits for its ack */
  #sent = null;
  /** @type {number | undefined} until the ack is overdue, or until the next try */
  #timer;

  #place;
  #send;
  #onOverdue;
  #onChange;
  #onGone;

  /**
   * @param {string} place  the part of the storage that is its own: the person's and the room's
   * @param {object} ways
   * @param {(frame: object) => boolean} ways.send  false when there is no connection
   * @param {() => void} ways.onOverdue  an ack does not come
   * @param {(entry: Entry) => void} ways.onChange
   * @param {(id: string) => void} ways.onGone
   */
  constructor(place, { send, onOverdue, onChange, onGone }) {
    this.#place = `outbox:${place}:`;
    this.#send = send;
    this.#onOverdue = onOverdue;
    this.#onChange = onChange;
    this.#onGone = onGone;
    storage.onRemovedElsewhere((key) => {
      if (key.startsWith(this.#place)) this.#forget(key.slice(this.#place.length));
    });
  }

  /** Takes up what an earlier page has left. */
  restore() {
    const entries = storage.keysOf(this.#place).map((key) => parse(storage.read(key)));
    for (const entry of entries.filter((entry) => entry !== null).sort(byTime)) {
      this.#entries.set(entry.id, entry);
    }
  }

  /** @returns {Iterable<Entry>} */
  entries() {
    return this.#entries.values();
  }

  /** @param {string} message */
  add(message) {
    /** @type {Entry} */
    const entry = { id: newId(), message, datetime: new Date().toISOString(), tries: 0 };
    this.#entries.set(entry.id, entry);
    this.#changed(entry);
    this.#sendNext();
  }

  connected() {
    this.#goOn();
  }

  disconnected() {
    clearTimeout(this.#timer);
    this.#sent = null;
  }

  /**
   * @param {string} id  a message that is known to be stored
   * @returns {Entry | undefined} what waited for that
   */
  stored(id) {
    const entry = this.#entries.get(id);
    if (!entry) return undefined;
    this.#entries.delete(id);
    storage.remove(this.#place + id);
    if (this.#sent === id) this.#goOn();
    return entry;
  }

  /** @param {Refusal} refusal */
  refused({ id = '', code, retry_after: seconds }) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    entry.tries += 1;
    if (PASSING.has(code) && entry.tries < TRIES) {
      entry.dueAt = Date.now() + (seconds ?? 2 ** entry.tries) * 1000;
    } else {
      entry.failure = code;
    }
    this.#changed(entry);
    if (this.#sent === id) this.#goOn();
  }

  /** @param {string} id */
  retry(id) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    delete entry.failure;
    delete entry.dueAt;
    entry.tries = 0;
    this.#changed(entry);
    this.#sendNext();
  }

  /** @param {string} id */
  discard(id) {
    storage.remove(this.#place + id);
    this.#forget(id);
  }

  /** @param {string} id */
  messageOf(id) {
    return this.#entries.get(id)?.message ?? '';
  }

  /** @param {string} id */
  #forget(id) {
    if (!this.#entries.delete(id)) return;
    if (this.#sent === id) this.#goOn();
    this.#onGone(id);
  }

  /** Nothing is under way any more. */
  #goOn() {
    this.#sent = null;
    this.#sendNext();
  }

  #sendNext() {
    if (this.#sent) return;
    clearTimeout(this.#timer);
    const next = [...this.#entries.values()].find(({ failure }) => !failure);
    if (!next) return;
    const wait = (next.dueAt ?? 0) - Date.now();
    if (wait > 0) {
      this.#timer = setTimeout(() => this.#sendNext(), wait);
    } else if (this.#send({ type: 'message', id: next.id, message: next.message })) {
      this.#sent = next.id;
      this.#timer = setTimeout(this.#onOverdue, ACK_WITHIN);
    }
  }

  /** @param {Entry} entry */
  #changed(entry) {
    storage.write(this.#place + entry.id, JSON.stringify(entry));
    this.#onChange(entry);
  }
}

function newId() {
  // randomUUID is there for secure contexts alone, and a school may run this over plain http.
  return crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint8Array(16)), hex).join('');
}

/** @param {number} byte */
function hex(byte) {
  return byte.toString(16).padStart(2, '0');
}

/**
 * @param {string | null} text
 * @returns {Entry | null}
 */
function parse(text) {
  try {
    return JSON.parse(text ?? 'null');
  } catch {
    return null;
  }
}

/**
 * @param {Entry} one
 * @param {Entry} other
 */
function byTime(one, other) {
  return one.datetime < other.datetime ? -1 : 1;
}
