/** The changes that events make to their target, and that each event is delivered once. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { EventStream } from '../../educa_chat/static/js/event-stream.js';
import * as marks from '../../educa_chat/static/js/events/marks.js';
import * as reaction from '../../educa_chat/static/js/events/reaction.js';

const page = { messages: [], head: 4, epoch: 'e' };
const [{ change: react }] = reaction.KINDS;

test('each event after the page is delivered once, in order', () => {
  const stream = new EventStream('ana');
  assert.equal(stream.next({ type: 'chat_message', seq: 5 }), null);
  stream.begin(page);
  assert.equal(stream.next({ type: 'chat_message', seq: 4 }), null);
  assert.equal(stream.next({ type: 'chat_message', seq: 5, user: 'luis' }).own, false);
  assert.equal(stream.next({ type: 'chat_message', seq: 5 }), null);
  assert.equal(stream.seq, 5);
});

test('an event is "own" for its user, and for the reader who got an `own` frame', () => {
  const stream = new EventStream('ana');
  stream.begin(page);
  stream.markOwn(6);
  stream.markSent({ seq: 6, id: 'a' });
  assert.equal(stream.next({ type: 'reaction', seq: 5, user: 'ana' }).own, true);
  assert.deepEqual(stream.next({ type: 'chat_message', seq: 6, user: '~123456' }), {
    type: 'chat_message', seq: 6, user: '~123456', own: true, id: 'a',
  });
  assert.equal(stream.next({ type: 'chat_message', seq: 7, user: '~123456' }).own, false);
});

test('a socket resumes after the last event, with the time of that event if it is known', () => {
  const stream = new EventStream('ana');
  stream.begin(page);
  assert.equal(String(stream.query()), 'after=4&epoch=e');
  stream.next({ type: 'closed', seq: 5, datetime: 'now' });
  assert.equal(String(stream.query()), 'after=5&epoch=e&at=now');
  stream.forget();
  assert.throws(() => stream.query());
});

test('a mark changes its own field', () => {
  const fields = Object.fromEntries(marks.KINDS.map(({ name, change }) => [name, change({}, { on: true })]));
  assert.deepEqual(fields, {
    pinned: { pinned: true },
    questioned: { question: true },
    answered: { answered: true },
    endorsed: { endorsed: true },
  });
});

test('a reaction adds or removes a user, and an emoji without users disappears', () => {
  let message = react({}, { emoji: '👍', user: 'ana', on: true });
  assert.deepEqual(message.reactions, [{ emoji: '👍', users: ['ana'], own: undefined }]);
  message = react(message, { emoji: '👍', user: 'luis', on: true });
  message = react(message, { emoji: '👍', user: 'ana', on: false });
  assert.deepEqual(message.reactions[0].users, ['luis']);
  message = react(message, { emoji: '👍', user: 'luis', on: false });
  assert.deepEqual(message.reactions, []);
});

test("the reader's own reaction under a pseudonym replaces the one under their name", () => {
  const pending = react({ reactions: [] }, { emoji: '👍', user: 'ana', on: true, own: true });
  const stored = react(pending, { emoji: '👍', user: '~123456', on: true, own: true });
  assert.deepEqual(stored.reactions, [{ emoji: '👍', users: ['~123456'], own: '~123456' }]);
});
