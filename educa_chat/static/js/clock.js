/**
 * The server's clock, from the times that the server sends and what has passed since. The browser's clock may be wrong, and a
 * user may set it.
 */

/** @type {{server: number, elapsed: number, wall: number} | null} null: the server has not sent its time yet */
let known = null;

/**
 * @param {string} datetime  what it showed
 * @param {number} agoMs  how long ago that was
 */
export function synchronise(datetime, agoMs = 0) {
  known = { server: Date.parse(datetime) + agoMs, elapsed: performance.now(), wall: Date.now() };
}

/** @returns {number} what the server's clock shows, in milliseconds since 1970: the time by which mutes and edits end */
export function serverNow() {
  return known ? known.server + performance.now() - known.elapsed : Date.now();
}

/**
 * @returns {Date} the moment that decides which day is today. Unlike `serverNow`, it counts the time while the computer slept,
 *   when `performance.now()` may stand still.
 */
export function calendarNow() {
  return new Date(known ? known.server + Math.max(Date.now() - known.wall, performance.now() - known.elapsed) : Date.now());
}
