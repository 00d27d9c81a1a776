/**
 * The server's clock: the times that the server sends, plus the time that has passed since. The browser's clock may be
 * wrong, and the user may change it.
 */

/** @type {{server: number, elapsed: number} | null} null: the server has not sent its time yet */
let known = null;
/** How far the browser's clock lagged behind the server's when the page was loaded. */
let lagMs = 0;

/**
 * @param {string} datetime  the time that it showed
 * @param {number} agoMs  how long ago that was
 */
export function synchronise(datetime, agoMs = 0) {
  const server = Date.parse(datetime) + agoMs;
  if (!known) lagMs = server - Date.now();
  known = { server, elapsed: performance.now() };
}

/** @returns {number} the time of the server's clock, in milliseconds since 1970: the time by which mutes and edits end */
export function serverNow() {
  return known ? known.server + performance.now() - known.elapsed : Date.now();
}

/**
 * @returns {Date} the moment that decides which day is today. Unlike `serverNow`, it counts the time while the computer slept,
 *   when `performance.now()` may stand still.
 */
export function calendarNow() {
  return new Date(Math.max(Date.now() + lagMs, serverNow()));
}
