/** The browser's storage, which may be full or switched off: the chat goes on without it. */

const PREFIX = 'educa-chat:';

/**
 * @param {string} key
 * @returns {string | null}
 */
export function read(key) {
  try {
    return localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @returns {any} what was written as JSON; null when it is not there, or is none
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
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    // Kept in memory alone.
  }
}

/** @param {string} key */
export function remove(key) {
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
  try {
    return Object.keys(localStorage)
      .filter((key) => key.startsWith(PREFIX + start))
      .map((key) => key.slice(PREFIX.length));
  } catch {
    return [];
  }
}

/**
 * Tells what another window of this browser has written or, with null, removed.
 *
 * @param {(key: string, value: string | null) => void} listener
 */
export function onChangedElsewhere(listener) {
  addEventListener('storage', ({ key, newValue }) => {
    if (key?.startsWith(PREFIX)) listener(key.slice(PREFIX.length), newValue);
  });
}
