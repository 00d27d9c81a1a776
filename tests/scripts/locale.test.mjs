/** Times and numbers have the form that is usual where the reader lives. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

/** @param {string} page @param {string[]} readers  the languages of the reader's browser, the preferred one first */
async function localeOf(page, readers) {
  globalThis.document = { documentElement: { lang: page } };
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { languages: readers } });
  return (await import(`../../educa_chat/static/js/locale.js?${page}${readers}`)).locale;
}

test('times have the form of the reader’s region', async () => {
  const time = async (...languages) =>
    new Intl.DateTimeFormat(await localeOf(...languages), { timeStyle: 'short', timeZone: 'UTC' }).format(new Date('2026-01-15T15:04Z'));
  assert.match(await time('en', ['en-US', 'en']), /^3:04\sPM$/);
  assert.equal(await time('en', ['es-ES', 'en-GB']), '15:04');
  assert.match(await time('es', ['en-US', 'es-MX']), /^3:04\sp\.m\.$/);
});

test('a page in none of the reader’s languages has its own form', async () => {
  assert.equal(await localeOf('es', ['en-US', 'fr']), 'es');
});
