import { serverNow } from './clock.js';
import * as storage from './storage.js';

const ACK_TIMEOUT_MS = 10_000;
const MAX_TRIES = 5;
const TEMPORARY = new Set(['rate_limited', 'slow_mode']);
const MAX_WAIT_S = 8;

/**
 * Sends one command after the other, each until it is stored, so that they keep their order. Commands that wait survive a
 * reload. Each has its own key in the browser's storage. Several windows of one user may share them: a message that two
 * windows send is still one message, because its id is the same.
 */
export class Outbox {
  /** @type {Map<string, Entry>} */
  #entries = new Map();
  /** @type {string | null} the id of the command that waits for its ack */
  #sent = null;
  /** @type {number | undefined} until the ack is overdue */
  #timer;
  /** @type {Map<string, number>} the timers of those that must wait, by id */
  #pauses = new Map();

  #storageKey;
  #send;
  #onOverdue;
  #onChange;
  #onRemoved;
  #onHeldUp;

  /**
   * @param {string} storageKey  of the user and the room
   * @param {OutboxCallbacks} callbacks
   */
  constructor(storageKey, { send, onOverdue, onChange, onRemoved, onHeldUp }) {
    this.#storageKey = `outbox:${storageKey}:`;
    this.#send = send;
    this.#onOverdue = onOverdue;
    this.#onChange = onChange;
    this.#onRemoved = onRemoved;
    this.#onHeldUp = onHeldUp;
    storage.onChangedElsewhere((key, value) => {
      if (value === null && key.startsWith(this.#storageKey)) this.#forget(key.slice(this.#storageKey.length));
    });
  }

  /** Continues with the commands that an earlier page left. */
  restore() {
    const entries = storage.keysOf(this.#storageKey).map((key) => storage.readObject(key));
    for (const entry of entries.filter((entry) => entry?.command).sort(byTime)) {
      delete entry.dueAt;
      this.#entries.set(entry.id, entry);
    }
    this.#reportHeldUp();
  }

  /** @returns {Iterable<Entry>} */
  entries() {
    return this.#entries.values();
  }

  /**
   * @param {number} seq
   * @returns {Command[]} the pending commands about this message
   */
  commandsOn(seq) {
    const waiting = [...this.#entries.values()].filter(({ failure }) => !failure);
    return waiting.map(({ command }) => command).filter(({ target }) => target === seq);
  }

  /** @param {Command} command */
  add(command) {
    /** @type {Entry} */
    const entry = { id: newId(), command, datetime: this.#now(), tries: 0 };
    this.#entries.set(entry.id, entry);
    this.#changed(entry);
    this.#sendNext();
  }

  connected() {
    this.#sendAfterAck();
  }

  disconnected() {
    clearTimeout(this.#timer);
    this.#sent = null;
  }

  /**
   * @param {string} id  of a command that is stored
   * @param {number} [seq]  of its event, if that is known
   * @returns {Entry | undefined} its command, if it was here
   */
  stored(id, seq) {
    const entry = this.#entries.get(id);
    if (!entry) return undefined;
    this.#entries.delete(id);
    storage.remove(this.#storageKey + id);
    this.#reportHeldUp();
    const { type, target } = entry.command;
    // The author of a later edit in this queue has seen this one.
    const later = [...this.#entries.values()].filter(({ command }) => type === 'edit' && command.type === type && command.target === target);
    for (const { command } of later) command.as_of = seq;
    if (this.#sent === id) this.#sendAfterAck();
    return entry;
  }

  /** @param {Refusal} refusal */
  refused(refusal) {
    const { id = '', code, retry_after: seconds } = refusal;
    const entry = this.#entries.get(id);
    if (!entry) return;
    entry.tries += 1;
    entry.isHeldUp = code === 'unavailable';
    // The server can't store anything now, which says nothing about the command: send it until it is stored.
    if (entry.isHeldUp || (TEMPORARY.has(code) && entry.tries < MAX_TRIES)) {
      this.#pause(entry, (seconds ?? Math.min(2 ** entry.tries, MAX_WAIT_S)) * 1000);
    } else {
      entry.failure = refusal;
    }
    this.#changed(entry);
    if (this.#sent === id) this.#sendAfterAck();
  }

  /** @param {string} id */
  retry(id) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    delete entry.failure;
    this.#endPause(entry);
    entry.tries = 0;
    this.#changed(entry);
    this.#sendNext();
  }

  /** @param {string} id */
  discard(id) {
    storage.remove(this.#storageKey + id);
    this.#forget(id);
  }

  /** @param {string} id */
  #forget(id) {
    if (!this.#entries.delete(id)) return;
    this.#reportHeldUp();
    if (this.#sent === id) this.#sendAfterAck();
    this.#onRemoved(id);
  }

  /** @returns {string} a time after that of each entry, so that they keep their order when they are restored */
  #now() {
    const last = Math.max(0, ...[...this.#entries.values()].map(({ datetime }) => Date.parse(datetime)));
    return new Date(Math.max(serverNow(), last + 1)).toISOString();
  }

  /** Nothing waits for its ack any more. */
  #sendAfterAck() {
    this.#sent = null;
    this.#sendNext();
  }

  #sendNext() {
    if (this.#sent) return;
    clearTimeout(this.#timer);
    const waiting = [...this.#entries.values()].filter(({ failure }) => !failure);
    // Messages keep their order, and so do the other commands; but these need not wait until another message is allowed.
    const firsts = [waiting.find(isMessage), waiting.find((entry) => !isMessage(entry))].filter((one) => one !== undefined);
    const next = firsts.filter(({ id }) => !this.#pauses.has(id)).sort(byTime)[0];
    if (next && this.#send({ ...next.command, id: next.id })) {
      this.#sent = next.id;
      this.#timer = setTimeout(this.#onOverdue, ACK_TIMEOUT_MS);
    }
  }

  /**
   * Sends a command later. This measures how long, because the browser's clock may be set in the meantime.
   *
   * @param {Entry} entry
   * @param {number} ms
   */
  #pause(entry, ms) {
    this.#endPause(entry);
    entry.dueAt = Date.now() + ms;
    this.#pauses.set(entry.id, setTimeout(() => {
      this.#pauses.delete(entry.id);
      this.#sendNext();
    }, ms));
  }

  /** @param {Entry} entry */
  #endPause(entry) {
    clearTimeout(this.#pauses.get(entry.id));
    this.#pauses.delete(entry.id);
    delete entry.dueAt;
  }

  /** @param {Entry} entry */
  #changed(entry) {
    storage.write(this.#storageKey + entry.id, JSON.stringify(entry));
    this.#onChange(entry);
    this.#reportHeldUp();
  }

  #reportHeldUp() {
    this.#onHeldUp([...this.#entries.values()].some(({ isHeldUp }) => isHeldUp));
  }
}

/** @param {Entry} entry */
export function isMessage({ command }) {
  return command.type === 'message';
}

function newId() {
  // Browsers have randomUUID in secure contexts only, and a school may run this over plain HTTP.
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
  return one.datetime === other.datetime ? 0 : one.datetime < other.datetime ? -1 : 1;
}
