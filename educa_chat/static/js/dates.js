/** Times in the reader's time zone and language. */

import { isSameDay } from './calendar.js';
import { calendarNow } from './clock.js';
import { locale, text } from './strings.js';

const timeFormat = new Intl.DateTimeFormat(locale, { timeStyle: 'short' });
const momentFormat = new Intl.DateTimeFormat(locale, { dateStyle: 'long', timeStyle: 'short' });
const exactFormat = new Intl.DateTimeFormat(locale, { dateStyle: 'full', timeStyle: 'medium' });
const dayFormat = new Intl.DateTimeFormat(locale, { weekday: 'long', day: 'numeric', month: 'long' });
const dayOfOtherYearFormat = new Intl.DateTimeFormat(locale, { dateStyle: 'long' });

/** @type {[unit: string, seconds: number][]} */
const DURATIONS = [['hour', 3600], ['minute', 60], ['second', 1]];

/** @param {string | Date} datetime */
export function timeOf(datetime) {
  return timeFormat.format(new Date(datetime));
}

/**
 * @param {string} datetime
 * @returns {string} "until" and the time, with the day unless that is today
 */
export function untilOf(datetime) {
  if (isSameDay(datetime, calendarNow())) return text('day.until_time', { time: timeOf(datetime) });
  return text('day.until_date', { date: momentFormat.format(new Date(datetime)) });
}

/** @param {number} seconds */
export function durationOf(seconds) {
  const [unit, length] = /** @type {[string, number]} */ (DURATIONS.find(([, length]) => seconds % length === 0));
  return new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'long' }).format(seconds / length);
}

/** @param {string} datetime */
export function exactTimeOf(datetime) {
  return exactFormat.format(new Date(datetime));
}

/** @param {string} datetime */
export function dayOf(datetime) {
  const date = new Date(datetime);
  const today = calendarNow();
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  if (isSameDay(date, today)) return text('day.today');
  if (isSameDay(date, yesterday)) return text('day.yesterday');
  return (date.getFullYear() === today.getFullYear() ? dayFormat : dayOfOtherYearFormat).format(date);
}
