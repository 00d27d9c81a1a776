/** The amount of history that stays on the page. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  MAX_ROWS,
  MAX_ROWS_WITH_SELECTION,
  PREFETCH_PX,
  TRIM_TO_ROWS,
  isTopFarther,
  rowsToTrim,
} from '../../educa_chat/static/js/log/trimming.js';

const far = { distanceOf: () => 100_000, isSelected: () => false };

test('nothing is removed until there are too many rows, and then all but the rows to keep', () => {
  assert.equal(rowsToTrim(MAX_ROWS, far), 0);
  assert.equal(rowsToTrim(MAX_ROWS + 1, far), MAX_ROWS + 1 - TRIM_TO_ROWS);
  assert.equal(rowsToTrim(1000, far), 1000 - TRIM_TO_ROWS);
});

test('rows near the reader stay, even if there are too many', () => {
  const distanceOf = (index) => PREFETCH_PX + 10 * (7 - index);
  assert.equal(rowsToTrim(1000, { ...far, distanceOf }), 8);
  assert.equal(rowsToTrim(1000, { ...far, distanceOf: () => 0 }), 0);
});

test('selected text stays, unless the page would grow too long', () => {
  const isSelected = (index) => index === 3;
  assert.equal(rowsToTrim(MAX_ROWS_WITH_SELECTION, { ...far, isSelected }), 3);
  assert.equal(rowsToTrim(MAX_ROWS_WITH_SELECTION + 1, { ...far, isSelected }), MAX_ROWS_WITH_SELECTION + 1 - TRIM_TO_ROWS);
});

test('the layout is read only as far as rows are removed', () => {
  const asked = [];
  rowsToTrim(300, { ...far, distanceOf: (index) => asked.push(index) && (index < 5 ? Infinity : 0) });
  assert.deepEqual(asked, [0, 1, 2, 3, 4, 5]);
  rowsToTrim(MAX_ROWS, { ...far, distanceOf: () => assert.fail('There is nothing to remove') });
});

test('rows are removed at the end that is farther from the reader', () => {
  const view = { isAtBottom: false, scrollHeight: 10_000, clientHeight: 600 };
  assert.equal(isTopFarther({ ...view, scrollTop: 9000 }), true);
  assert.equal(isTopFarther({ ...view, scrollTop: 200 }), false);
  assert.equal(isTopFarther({ ...view, scrollTop: 200, isAtBottom: true }), true);
});
