/** The dividers in the log: between days, between authors, and at the first unread message. */

import { isSameDay } from '../calendar.js';

const GROUP_WITHIN_MS = 5 * 60_000;

/**
 * @param {ShownMessage | undefined} previous  the message before, if there is one
 * @param {ShownMessage} message
 * @returns {boolean} whether the message has a day heading above it
 */
export function opensDay(previous, message) {
  return !previous || !isSameDay(previous.datetime, message.datetime);
}

/**
 * @param {ShownMessage | undefined} previous  the message before, if there is one
 * @param {ShownMessage} message
 * @returns {boolean} whether the message continues its author's previous one, so that it needs no name
 */
export function isGrouped(previous, message) {
  if (!previous || opensDay(previous, message) || message.reply_to || message.question) return false;
  const isSameAuthor = previous.user === message.user && previous.anonymous === message.anonymous;
  return isSameAuthor && Math.abs(Date.parse(message.datetime) - Date.parse(previous.datetime)) < GROUP_WITHIN_MS;
}

/**
 * @template {{message: {seq: number, own: boolean}}} Row
 * @param {Row[]} stored  the oldest first
 * @param {number} after  the seq up to which the reader has read
 * @returns {Row | undefined} the first message of somebody else that the reader has not read
 */
export function firstUnread(stored, after) {
  return stored.find(({ message }) => message.seq > after && !message.own);
}
