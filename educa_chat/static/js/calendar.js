/** Days of the reader's own calendar. */

import { calendarNow } from './clock.js';

const LOOK_EVERY_MS = 30_000;

/**
 * @param {string | Date} one  a time
 * @param {string | Date} other  a time
 */
export function isSameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

/**
 * Calls `callback` whenever a day begins, or has begun while the computer slept: a timer until midnight would be late then.
 *
 * @param {() => void} callback
 */
export function onNewDay(callback) {
  let today = calendarNow();
  const look = () => {
    if (isSameDay(today, calendarNow())) return;
    today = calendarNow();
    callback();
  };
  setInterval(look, LOOK_EVERY_MS);
  for (const type of ['visibilitychange', 'focus', 'pageshow']) addEventListener(type, look, true);
}
