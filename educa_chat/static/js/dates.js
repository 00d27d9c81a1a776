/** Times as the reader's clock and language have them. */

import { locale, text } from './strings.js';

const timeFormat = new Intl.DateTimeFormat(locale, { timeStyle: 'short' });
const exactFormat = new Intl.DateTimeFormat(locale, { dateStyle: 'full', timeStyle: 'medium' });
const dayFormat = new Intl.DateTimeFormat(locale, { weekday: 'long', day: 'numeric', month: 'long' });
const dayOfOtherYearFormat = new Intl.DateTimeFormat(locale, { dateStyle: 'long' });

/** @param {string | Date} datetime */
export function timeOf(datetime) {
  return timeFormat.format(new Date(datetime));
}

/** @param {string} datetime */
export function exactTimeOf(datetime) {
  return exactFormat.format(new Date(datetime));
}

/**
 * @param {string} one
 * @param {string} other
 */
export function isSameDay(one, other) {
  return new Date(one).toDateString() === new Date(other).toDateString();
}

/** @param {string} datetime */
export function dayOf(datetime) {
  const date = new Date(datetime);
  const today = new Date();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (date.toDateString() === today.toDateString()) return text('day.today');
  if (date.toDateString() === yesterday.toDateString()) return text('day.yesterday');
  return (date.getFullYear() === today.getFullYear() ? dayFormat : dayOfOtherYearFormat).format(date);
}

/** @returns {number} milliseconds */
export function untilMidnight() {
  const now = new Date();
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1).getTime() - now.getTime();
}
