/** Mentions and matches that are highlighted in a text. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { mentionSpans } from '../../educa_chat/static/js/mentions/spans.js';
import { excerptAround } from '../../educa_chat/static/js/search/excerpt.js';

const mentions = (text, message) =>
  mentionSpans(text, message, 'ana').map((span) => (typeof span === 'string' ? span : `[${span.name}${span.isForReader ? '!' : ''}]`));
const marked = (text, query) => excerptAround(text, query).map(({ text: part, isMatch }) => (isMatch ? `[${part}]` : part)).join('');

test('mentioned members are highlighted, and the reader most of all', () => {
  const message = { mentions: ['luis', 'ana'] };
  assert.deepEqual(mentions('@luis and @ana, or @eva', message), ['[luis]', ' and ', '[ana!]', ', or @eva']);
});

test('punctuation after a name is part of it only if the name of the member contains it', () => {
  assert.deepEqual(mentions('Hi @ana.', { mentions: ['ana'] }), ['Hi ', '[ana!]', '.']);
  assert.deepEqual(mentions('Hi @ana.', { mentions: ['ana.'] }), ['Hi ', '[ana.]']);
});

test('a name ends where another script, punctuation or text without spaces begins', () => {
  const message = { mentions: ['ana', '王小明'] };
  assert.deepEqual(mentions('@anaさん @ana.Nos @王小明你好', message), ['[ana!]', 'さん ', '[ana!]', '.Nos ', '[王小明]', '你好']);
  assert.deepEqual(mentions('@anabel @ana2', message), ['@anabel @ana2']);
});

test('only mentions that the server recognised are highlighted', () => {
  const table = JSON.parse(readFileSync(new URL('../mentions.json', import.meta.url), 'utf8'));
  for (const { text, mentions: users, all, marked: expected } of table) {
    const spans = mentionSpans(text, { mentions: users, mentions_all: all }, 'ana').filter((span) => typeof span !== 'string');
    assert.deepEqual(spans.map(({ name }) => name), expected, text);
  }
});

test('case makes no difference, unless another member has exactly this name', () => {
  assert.deepEqual(mentions('@Ana', { mentions: ['ana'] }), ['[Ana!]']);
  assert.deepEqual(mentions('@Ana', { mentions: ['ana', 'Ana'] }), ['[Ana]']);
});

test('an e-mail address mentions nobody', () => {
  assert.deepEqual(mentions('write to luis@ana', { mentions: ['ana'] }), ['write to luis@ana']);
});

test('`@all` is highlighted only if the server says so', () => {
  assert.deepEqual(mentions('@all', { mentions_all: true }), ['[all!]']);
  assert.deepEqual(mentions('@all', {}), ['@all']);
});

test('search words are highlighted regardless of accents, case and endings', () => {
  assert.equal(marked('The Integrál and two integrals', 'integral'), 'The [Integrál] and two [integrals]');
  assert.equal(marked('interval', 'integral'), 'interval');
  assert.equal(marked('Łódź, Straße, ışık', 'lodz STRASSE isik'), '[Łódź], [Straße], [ışık]');
});

test('excluded words and operators are not highlighted', () => {
  assert.equal(marked('limit or series', 'limit or -series'), '[limit] or series');
});

test('a long text is cut around its first match', () => {
  const text = `${'before '.repeat(60)}limit${' after'.repeat(200)}`;
  const excerpt = marked(text, 'limit');
  assert.match(excerpt, /^… before .*\[limit\] after .* …$/);
  assert.ok(excerpt.length < 420);
});
