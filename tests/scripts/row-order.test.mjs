/** The order of the rows in the log. */

import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { RowOrder } from '../../educa_chat/static/js/log/row-order.js';

const row = (seq, id = `id-${seq}`) => ({ message: { seq, id } });
const seqs = (order) => [...order].map(({ message }) => message.seq || message.id);
/** @type {RowOrder} */
let order;

beforeEach(() => {
  order = new RowOrder();
});

test('stored messages are ordered by seq, whatever their order of arrival, and pending ones follow as they were written', () => {
  for (const one of [row(5), row(0, 'b'), row(2), row(0, 'a'), row(9), row(3)]) order.add(one);
  assert.deepEqual(seqs(order), [2, 3, 5, 9, 'b', 'a']);
  assert.deepEqual(order.stored.map(({ message }) => message.seq), [2, 3, 5, 9]);
  assert.equal(order.size, 6);
  assert.equal(order.last.message.id, 'a');
});

test('each row knows its neighbours, across the border between stored and pending', () => {
  const rows = [row(1), row(4), row(0, 'a'), row(0, 'b')];
  for (const one of rows) order.add(one);
  for (const [index, one] of rows.entries()) {
    assert.equal(order.previous(one), rows[index - 1]);
    assert.equal(order.next(one), rows[index + 1]);
  }
});

test('a deleted row has no place and no neighbours', () => {
  const [first, second, pending] = [row(1), row(2), row(0, 'a')];
  for (const one of [first, second, pending]) order.add(one);
  order.delete(second);
  order.delete(pending);
  order.delete(pending);
  assert.deepEqual(seqs(order), [1]);
  assert.equal(order.has(second), false);
  assert.equal(order.next(second), undefined);
  assert.equal(order.next(first), undefined);
  assert.equal(order.pendingWith('a'), undefined);
});

test('a row is found by its seq or its id, and not mistaken for another row with the same seq', () => {
  const [stored, pending] = [row(7), row(0, 'a')];
  for (const one of [stored, pending, row(9)]) order.add(one);
  assert.equal(order.atSeq(7), stored);
  assert.equal(order.atSeq(8), undefined);
  assert.equal(order.pendingWith('a'), pending);
  assert.equal(order.has(row(7)), false);
});

test('a system message is before the first message after it, or before the pending ones', () => {
  const [second, pending] = [row(6), row(0, 'a')];
  for (const one of [row(2), second, pending]) order.add(one);
  assert.equal(order.firstAfter(2), second);
  assert.equal(order.firstAfter(5), second);
  assert.equal(order.firstAfter(6), pending);
  order.delete(pending);
  assert.equal(order.firstAfter(6), undefined);
});

test('a cleared order is empty', () => {
  for (const one of [row(1), row(0, 'a')]) order.add(one);
  order.clear();
  assert.deepEqual([order.size, order.last, ...order], [0, undefined]);
});
