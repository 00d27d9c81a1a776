/** Days of the reader's own calendar. */

/**
 * @param {string} one  a time
 * @param {string} other  a time
 */
export function isSameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

/**
 * Calls `callback` whenever a day begins.
 *
 * @param {() => void} callback
 */
export function atEachMidnight(callback) {
  const now = new Date();
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1);
  setTimeout(() => {
    callback();
    atEachMidnight(callback);
  }, midnight.getTime() - now.getTime());
}
