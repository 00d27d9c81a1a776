/**
 * The browser's storage. A value that doesn't fit into localStorage is kept in this window's sessionStorage, which
 * survives a reload, or else in this page. So the chat works without any storage.
 */

const PREFIX = 'educa-chat:';

/** Text by the user: the user has to be warned if it might be lost. */
const WRITTEN = /^(?:draft|outbox):/;

/** @type {Map<string, string>} the values that neither storage has accepted */
const unstored = new Map();
/** @type {Set<string>} the keys that only this window has */
const atRisk = new Set();
/** @type {((isAtRisk: boolean) => void) | undefined} */
let onRisk;
/** Whether writing has stopped, because the session has ended. */
let isClosed = false;

/**
 * @param {string} key
 * @returns {string | null}
 */
export function read(key) {
  return unstored.get(key) ?? attempt(() => sessionStorage.getItem(PREFIX + key)) ?? attempt(() => localStorage.getItem(PREFIX + key));
}

/**
 * @param {string} key
 * @returns {any} the value that was stored as JSON; null if there is none, or it isn't JSON
 */
export function readObject(key) {
  return attempt(() => JSON.parse(read(key) ?? 'null'));
}

/**
 * @param {string} key
 * @param {string} value
 */
export function write(key, value) {
  if (isClosed) return;
  const isLasting = put(() => localStorage, key, value);
  if (isLasting) attempt(() => sessionStorage.removeItem(PREFIX + key));
  if (isLasting || put(() => sessionStorage, key, value)) unstored.delete(key);
  else unstored.set(key, value);
  if (isLasting || !WRITTEN.test(key)) atRisk.delete(key);
  else atRisk.add(key);
  onRisk?.(atRisk.size > 0);
}

/** @param {string} key */
export function remove(key) {
  unstored.delete(key);
  atRisk.delete(key);
  attempt(() => sessionStorage.removeItem(PREFIX + key));
  attempt(() => localStorage.removeItem(PREFIX + key));
  onRisk?.(atRisk.size > 0);
}

/** Whether text by the user would be lost with this window. */
export function isAtRisk() {
  return atRisk.size > 0;
}

/** @param {(isAtRisk: boolean) => void} listener  called when the stored values change */
export function watchRisk(listener) {
  onRisk = listener;
  for (const key of keys()) if (WRITTEN.test(key) && attempt(() => localStorage.getItem(PREFIX + key)) !== read(key)) atRisk.add(key);
  listener(isAtRisk());
}

/**
 * @param {string} start
 * @returns {string[]} the keys with this prefix
 */
export function keysOf(start) {
  return keys().filter((key) => key.startsWith(start));
}

/**
 * @param {string} user  their id
 * @returns {string[]} the keys of everything that is stored for them: the user comes second in each
 */
export function keysOfUser(user) {
  return keys().filter((key) => `${key}:`.startsWith(`:${user}:`, key.indexOf(':')));
}

/** Stops all writing by this page. */
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

/** @returns {string[]} */
function keys() {
  const stored = [() => localStorage, () => sessionStorage].flatMap((storage) => attempt(() => Object.keys(storage())) ?? []);
  const own = stored.filter((key) => key.startsWith(PREFIX)).map((key) => key.slice(PREFIX.length));
  return [...new Set([...own, ...unstored.keys()])];
}

/**
 * @param {() => Storage} storage
 * @param {string} key
 * @param {string} value
 */
function put(storage, key, value) {
  return attempt(() => {
    storage().setItem(PREFIX + key, value);
    return true;
  }) === true;
}

/**
 * @template Value
 * @param {() => Value} use  of a storage, which is full, switched off or missing if this throws
 * @returns {Value | null}
 */
function attempt(use) {
  try {
    return use();
  } catch {
    return null;
  }
}
