/** The dividers in the log: between days, between authors, and at the first unread message. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { firstUnread, isGrouped, opensDay } from '../../educa_chat/static/js/log/dividers.js';

const at = (time, fields = {}) => ({ user: 'ana', datetime: new Date(time).toISOString(), ...fields });
const NOON = '2026-03-10T12:00:00';

test('the first message, and the first one of each local day, have a heading', () => {
  assert.equal(opensDay(undefined, at(NOON)), true);
  assert.equal(opensDay(at(NOON), at('2026-03-10T23:59:59')), false);
  assert.equal(opensDay(at('2026-03-10T23:59:59'), at('2026-03-11T00:00:00')), true);
});

test('messages by one author within five minutes are one group', () => {
  assert.equal(isGrouped(at(NOON), at('2026-03-10T12:04:59')), true);
  assert.equal(isGrouped(at(NOON), at('2026-03-10T12:05:00')), false);
  assert.equal(isGrouped(undefined, at(NOON)), false);
});

test('another author, a reply, a question and another day each start a new group', () => {
  const soon = '2026-03-10T12:00:01';
  assert.equal(isGrouped(at(NOON), at(soon, { user: 'luis' })), false);
  assert.equal(isGrouped(at(NOON), at(soon, { anonymous: true })), false);
  assert.equal(isGrouped(at(NOON), at(soon, { reply_to: 3 })), false);
  assert.equal(isGrouped(at(NOON), at(soon, { question: true })), false);
  assert.equal(isGrouped(at('2026-03-10T23:59:59'), at('2026-03-11T00:00:00')), false);
});

test('a clock that was set back does not break a group', () => {
  assert.equal(isGrouped(at('2026-03-10T12:00:02'), at(NOON)), true);
});

test('the first unread message is the first one by somebody else after the marker', () => {
  const rows = [[3, false], [5, true], [6, false], [8, false]].map(([seq, own]) => ({ message: { seq, own } }));
  assert.equal(firstUnread(rows, 0), rows[0]);
  assert.equal(firstUnread(rows, 3), rows[2]);
  assert.equal(firstUnread(rows, 6), rows[3]);
  assert.equal(firstUnread(rows, 8), undefined);
  assert.equal(firstUnread(rows, Infinity), undefined);
});
