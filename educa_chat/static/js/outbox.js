/** @import { Command, Refusal } from './protocol.js' */

import * as storage from './storage.js';

const ACK_WITHIN = 10_000;
const TRIES = 5;
const PASSING = new Set(['rate_limited', 'slow_mode']);
const LONGEST_WAIT_S = 8;

/**
 * @typedef {object} Entry  What the reader has asked for and the room has not yet stored.
 * @property {string} id
 * @property {Command} command
 * @property {string} datetime  when it was given
 * @property {Refusal} [failure]  what it was given up for
 * @property {number} tries
 * @property {number} [dueAt]  when it is tried again, where that is later
 * @property {boolean} [isHeldUp]  whether the server could not store it when it was last tried
 */

/**
 * Sends one command after the other, each until it is stored, so that they keep their order; what waits survives a
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
  #onHeldUp;

  /**
   * @param {string} place  the part of the storage that is its own: the person's and the room's
   * @param {object} ways
   * @param {(frame: object) => boolean} ways.send  false when there is no connection
   * @param {() => void} ways.onOverdue  an ack does not come
   * @param {(entry: Entry) => void} ways.onChange
   * @param {(id: string) => void} ways.onGone
   * @param {(isHeldUp: boolean) => void} ways.onHeldUp  whether anything waits for a server that can't store it
   */
  constructor(place, { send, onOverdue, onChange, onGone, onHeldUp }) {
    this.#place = `outbox:${place}:`;
    this.#send = send;
    this.#onOverdue = onOverdue;
    this.#onChange = onChange;
    this.#onGone = onGone;
    this.#onHeldUp = onHeldUp;
    storage.onChangedElsewhere((key, value) => {
      if (value === null && key.startsWith(this.#place)) this.#forget(key.slice(this.#place.length));
    });
  }

  /** Takes up what an earlier page has left. */
  restore() {
    const entries = storage.keysOf(this.#place).map((key) => storage.readObject(key));
    for (const entry of entries.filter((entry) => entry?.command).sort(byTime)) {
      this.#entries.set(entry.id, entry);
    }
    this.#tellHeldUp();
  }

  /** @returns {Iterable<Entry>} */
  entries() {
    return this.#entries.values();
  }

  /**
   * @param {number} seq
   * @returns {Command[]} what is on its way to happen to this message
   */
  commandsOn(seq) {
    const waiting = [...this.#entries.values()].filter(({ failure }) => !failure);
    return waiting.map(({ command }) => command).filter(({ target }) => target === seq);
  }

  /** @param {Command} command */
  add(command) {
    /** @type {Entry} */
    const entry = { id: newId(), command, datetime: new Date().toISOString(), tries: 0 };
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
    this.#tellHeldUp();
    if (this.#sent === id) this.#goOn();
    return entry;
  }

  /** @param {Refusal} refusal */
  refused(refusal) {
    const { id = '', code, retry_after: seconds } = refusal;
    const entry = this.#entries.get(id);
    if (!entry) return;
    entry.tries += 1;
    entry.isHeldUp = code === 'unavailable';
    // A server that can't store anything says nothing about the command: it is sent until it is stored.
    if (entry.isHeldUp || (PASSING.has(code) && entry.tries < TRIES)) {
      entry.dueAt = Date.now() + (seconds ?? Math.min(2 ** entry.tries, LONGEST_WAIT_S)) * 1000;
    } else {
      entry.failure = refusal;
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
    return this.#entries.get(id)?.command.message ?? '';
  }

  /** @param {string} id */
  #forget(id) {
    if (!this.#entries.delete(id)) return;
    this.#tellHeldUp();
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
    const waiting = [...this.#entries.values()].filter(({ failure }) => !failure);
    // Messages keep their order and so does the rest; but who must wait before she says more may do the rest at once.
    const firsts = [waiting.find(isMessage), waiting.find((entry) => !isMessage(entry))].filter((one) => one !== undefined);
    const next = firsts.sort(byDue)[0];
    if (!next) return;
    const wait = (next.dueAt ?? 0) - Date.now();
    if (wait > 0) {
      this.#timer = setTimeout(() => this.#sendNext(), wait);
    } else if (this.#send({ ...next.command, id: next.id })) {
      this.#sent = next.id;
      this.#timer = setTimeout(this.#onOverdue, ACK_WITHIN);
    }
  }

  /** @param {Entry} entry */
  #changed(entry) {
    storage.write(this.#place + entry.id, JSON.stringify(entry));
    this.#onChange(entry);
    this.#tellHeldUp();
  }

  #tellHeldUp() {
    this.#onHeldUp([...this.#entries.values()].some(({ isHeldUp }) => isHeldUp));
  }
}

/** @param {Entry} entry */
export function isMessage({ command }) {
  return command.type === 'message';
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
 * @param {Entry} one
 * @param {Entry} other
 */
function byTime(one, other) {
  return one.datetime < other.datetime ? -1 : 1;
}

/**
 * @param {Entry} one
 * @param {Entry} other
 */
function byDue(one, other) {
  return (one.dueAt ?? 0) - (other.dueAt ?? 0) || byTime(one, other);
}
