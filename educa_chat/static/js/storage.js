/** The browser's storage. If it is full or switched off, this page keeps the values, so the chat works without it. */

const PREFIX = 'educa-chat:';

/** @type {Map<string, string>} what the browser didn't store */
const unstored = new Map();
/** Whether nothing is written any more, because the session has ended. */
let isClosed = false;

/**
 * @param {string} key
 * @returns {string | null}
 */
export function read(key) {
  try {
    return unstored.get(key) ?? localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @returns {any} what was written as JSON; null if there is none, or it is no JSON
 */
export function readObject(key) {
  try {
    return JSON.parse(read(key) ?? 'null');
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string} value
 */
export function write(key, value) {
  if (isClosed) return;
  unstored.set(key, value);
  try {
    localStorage.setItem(PREFIX + key, value);
    unstored.delete(key);
  } catch {
    // Only this page has it.
  }
}

/** @param {string} key */
export function remove(key) {
  unstored.delete(key);
  try {
    localStorage.removeItem(PREFIX + key);
  } catch {
    // There is nothing to remove then.
  }
}

/**
 * @param {string} start
 * @returns {string[]} the keys that begin so
 */
export function keysOf(start) {
  return keys().filter((key) => key.startsWith(start));
}

/**
 * @param {string} user
 * @returns {string[]} the keys of everything that is stored for them: the user comes second in each
 */
export function keysOfUser(user) {
  return keys().filter((key) => `${key}:`.startsWith(`:${user}:`, key.indexOf(':')));
}

/** From now on this page writes nothing. */
export function close() {
  isClosed = true;
}

/**
 * Listens for what other windows of this browser write or, with null, remove.
 *
 * @param {(key: string, value: string | null) => void} listener
 */
export function onChangedElsewhere(listener) {
  addEventListener('storage', ({ key, newValue }) => {
    if (key?.startsWith(PREFIX)) listener(key.slice(PREFIX.length), newValue);
  });
}

function keys() {
  /** @type {string[]} */
  let stored = [];
  try {
    stored = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
  } catch {
    // There is none.
  }
  return [...new Set([...stored.map((key) => key.slice(PREFIX.length)), ...unstored.keys()])];
}
