/** The language that is shown above a code block. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { languagesOf } from '../../educa_chat/static/js/log/code-languages.js';

test('each block has the language of its own fence', () => {
  const message = 'look:\n```python\nx = 1\n```\nand ~~~\n```\nplain\n```\nmore: ```js\nx = 1\n```';
  assert.deepEqual(languagesOf(message, ['x = 1', 'plain', 'x = 1']), ['python', '', 'js']);
});

test('code in quotes and lists has a language too', () => {
  const message = '> ```c++\n> int a;\n> ```\n- a\n  ~~~sql\n    select 1\n  ~~~';
  assert.deepEqual(languagesOf(message, ['int a;', '  select 1']), ['c++', 'sql']);
});

test('a word that is part of the code is not its language', () => {
  assert.deepEqual(languagesOf('```hello\nx\n```', ['hello\nx']), ['']);
  assert.deepEqual(languagesOf('```', ['']), ['']);
});
