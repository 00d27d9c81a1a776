/** The outbox sends each command until it is stored, in order, and loses none. */

import assert from 'node:assert/strict';
import { beforeEach, mock, test } from 'node:test';

// The parts of a browser's window. There is no localStorage here, so the storage keeps the values itself.
const window = new EventTarget();
globalThis.addEventListener = window.addEventListener.bind(window);

const { Outbox } = await import('../../educa_chat/static/js/outbox.js');
const storage = await import('../../educa_chat/static/js/storage.js');

const KEY = 'ana:1';
let sent, changed, removed, heldUp, overdue, isConnected;

function openOutbox() {
  const outbox = new Outbox(KEY, {
    send: (frame) => isConnected && Boolean(sent.push(frame)),
    onOverdue: () => (overdue += 1),
    onChange: ({ id, failure }) => changed.push({ id, code: failure?.code }),
    onRemoved: (id) => removed.push(id),
    onHeldUp: (isHeldUp) => (heldUp = isHeldUp),
  });
  outbox.restore();
  return outbox;
}

const texts = () => sent.map(({ message, type }) => message ?? type);
const last = () => sent.at(-1);

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 1_000_000 });
  for (const key of storage.keysOf('outbox:')) storage.remove(key);
  [sent, changed, removed] = [[], [], []];
  heldUp = false;
  overdue = 0;
  isConnected = true;
});

test('one command is sent at a time, and the next one when it is stored', () => {
  const outbox = openOutbox();
  for (const message of ['a', 'b', 'c']) outbox.add({ type: 'message', message });
  assert.deepEqual(texts(), ['a']);
  outbox.stored(last().id);
  outbox.stored(last().id);
  assert.deepEqual(texts(), ['a', 'b', 'c']);
  outbox.stored(last().id);
  assert.deepEqual([...outbox.entries()], []);
});

test('a command that was in progress when the connection broke is sent again with the same id', () => {
  const outbox = openOutbox();
  outbox.add({ type: 'message', message: 'a' });
  outbox.disconnected();
  outbox.connected();
  assert.deepEqual(texts(), ['a', 'a']);
  assert.equal(sent[0].id, sent[1].id);
});

test('without a connection nothing is lost, and a later page sends it in the same order', () => {
  isConnected = false;
  const outbox = openOutbox();
  for (const message of ['a', 'b']) {
    outbox.add({ type: 'message', message });
    mock.timers.tick(1);
  }
  isConnected = true;
  const later = openOutbox();
  later.connected();
  later.stored(last().id);
  assert.deepEqual(texts(), ['a', 'b']);
});

test('a missing ack is reported', () => {
  openOutbox().add({ type: 'message', message: 'a' });
  mock.timers.tick(9_999);
  assert.equal(overdue, 0);
  mock.timers.tick(1);
  assert.equal(overdue, 1);
});

test('a temporary refusal is retried when the server says, and abandoned after some attempts', () => {
  const outbox = openOutbox();
  outbox.add({ type: 'message', message: 'a' });
  const { id } = last();
  for (let tries = 1; tries < 5; tries += 1) {
    outbox.refused({ id, code: 'rate_limited', message: '', retry_after: 2 });
    mock.timers.tick(1_999);
    assert.equal(sent.length, tries);
    mock.timers.tick(1);
    assert.equal(sent.length, tries + 1);
  }
  outbox.refused({ id, code: 'rate_limited', message: '' });
  mock.timers.tick(60_000);
  assert.equal(sent.length, 5);
  assert.deepEqual(changed.at(-1), { id, code: 'rate_limited' });
});

test('commands are retried while the server cannot store anything, and this is reported', () => {
  const outbox = openOutbox();
  outbox.add({ type: 'message', message: 'a' });
  for (let tries = 0; tries < 20; tries += 1) {
    outbox.refused({ id: last().id, code: 'unavailable', message: '' });
    assert.equal(heldUp, true);
    mock.timers.tick(8_000);
  }
  assert.equal(sent.length, 21);
  outbox.stored(last().id);
  assert.equal(heldUp, false);
});

test('a message that must wait delays later messages, but no other commands', () => {
  const outbox = openOutbox();
  outbox.add({ type: 'message', message: 'a' });
  outbox.refused({ id: last().id, code: 'slow_mode', message: '', retry_after: 30 });
  outbox.add({ type: 'message', message: 'b' });
  outbox.add({ type: 'pin', target: 3, on: true });
  assert.deepEqual(texts(), ['a', 'pin']);
  outbox.stored(last().id);
  mock.timers.tick(30_000);
  assert.deepEqual(texts(), ['a', 'pin', 'a']);
});

test('a permanently refused command is sent again only if the user asks for it', () => {
  const outbox = openOutbox();
  outbox.add({ type: 'message', message: 'a' });
  const { id } = last();
  outbox.refused({ id, code: 'muted', message: '' });
  outbox.add({ type: 'message', message: 'b' });
  assert.deepEqual(texts(), ['a', 'b']);
  outbox.stored(last().id);
  outbox.retry(id);
  assert.deepEqual(texts(), ['a', 'b', 'a']);
  outbox.discard(id);
  assert.deepEqual(removed, [id]);
  assert.deepEqual(storage.keysOf('outbox:'), []);
});

test('pending commands about a message are known until they fail', () => {
  const outbox = openOutbox();
  outbox.add({ type: 'pin', target: 3, on: true });
  outbox.add({ type: 'react', target: 4, emoji: '👍', on: true });
  assert.deepEqual(outbox.commandsOn(3).map(({ type }) => type), ['pin']);
  outbox.refused({ id: last().id, code: 'forbidden', message: '' });
  assert.deepEqual(outbox.commandsOn(3), []);
});

test('commands that another window has sent or discarded are forgotten', () => {
  const outbox = openOutbox();
  outbox.add({ type: 'message', message: 'a' });
  const { id } = last();
  const removal = Object.assign(new Event('storage'), { key: `educa-chat:outbox:${KEY}:${id}`, newValue: null });
  window.dispatchEvent(removal);
  assert.deepEqual(removed, [id]);
  assert.deepEqual([...outbox.entries()], []);
});

test('an edit that waits for an earlier one of the same message takes it into account', () => {
  const outbox = openOutbox();
  outbox.add({ type: 'edit', target: 3, message: 'b', as_of: 3 });
  outbox.add({ type: 'edit', target: 3, message: 'c', as_of: 3 });
  outbox.add({ type: 'edit', target: 4, message: 'd', as_of: 4 });
  outbox.stored(last().id, 9);
  assert.deepEqual(sent.map(({ as_of }) => as_of), [3, 9]);
  outbox.stored(last().id, 10);
  assert.equal(last().as_of, 4);
});
