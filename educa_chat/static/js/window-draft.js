import * as storage from './storage.js';

const ID = 'educa-chat:window';
/** Text that was typed before the scripts had loaded. The early script stores it. */
const EARLY = 'early';
const ABANDONED_AFTER_MS = 24 * 3600_000;

/** @typedef {Written & {at: number, isLeft?: boolean}} Stored  `isLeft`: its window was closed */

/**
 * The text that the user is writing in a room in this window. Each window has its own text, so none can send what
 * another has sent or changed since. When a window is closed, the next one takes over its text. A window that crashed
 * counts as closed after a day.
 */
export class WindowDraft {
  #id = windowId();
  #start;

  /**
   * @param {string} storageKey  of the user and the room
   * @param {() => void} onGone  another window has taken over the text, or has signed out
   */
  constructor(storageKey, onGone) {
    this.#start = `draft:${storageKey}:`;
    addEventListener('pagehide', () => {
      const written = storage.readObject(this.#key);
      if (written) this.#store({ ...written, isLeft: true });
    });
    storage.onChangedElsewhere((key, value) => {
      if (key !== this.#key) return;
      if (value === null) return onGone();
      // This window is a copy of the other one.
      const copy = storage.readObject(key);
      this.#id = newId();
      this.#store(copy);
    });
  }

  get #key() {
    return this.#start + this.#id;
  }

  /**
   * @param {string} typed  since the page was loaded
   * @returns {Written} the text of this window, or of one that was closed
   */
  restore(typed) {
    const others = storage
      .keysOf(this.#start)
      .filter((key) => key !== this.#key && key !== this.#start + EARLY)
      .map((key) => ({ key, written: /** @type {Stored | null} */ (storage.readObject(key)) }))
      .filter(({ written }) => written && (written.isLeft || Date.now() - written.at > ABANDONED_AFTER_MS))
      .sort((one, other) => (other.written?.at ?? 0) - (one.written?.at ?? 0));
    const own = storage.readObject(this.#key) ?? others[0]?.written;
    if (own && own === others[0]?.written) storage.remove(others[0].key);
    const early = storage.readObject(this.#start + EARLY)?.draft;
    storage.remove(this.#start + EARLY);
    const written = { ...own, draft: joined(own?.draft, early, typed) };
    this.save(written);
    return written;
  }

  /** @param {Written} written */
  save({ draft, reply, edit, isQuestion }) {
    if (draft || reply || edit || isQuestion) this.#store({ draft, reply, edit, isQuestion, at: Date.now() });
    else storage.remove(this.#key);
  }

  /** @param {Stored} written */
  #store(written) {
    storage.write(this.#key, JSON.stringify(written));
  }
}

/**
 * @param {(string | undefined)[]} texts
 * @returns {string} all of them, one per line, without duplicates
 */
function joined(...texts) {
  return [...new Set(texts.filter(Boolean))].join('\n');
}

/** @returns {string} which stays the same when this window is reloaded */
function windowId() {
  try {
    const id = sessionStorage.getItem(ID) ?? newId();
    sessionStorage.setItem(ID, id);
    return id;
  } catch {
    return newId();
  }
}

function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
