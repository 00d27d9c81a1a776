/** Chooses the part of a message that the search shows, and finds the words in it that match. */

import { plain } from './plain.js';

const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const UNSPACED = '[\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hangul}\\p{Script=Thai}ー]';
const EXCLUDED = /(?<!\S)(?:-|(?:from|before|after|has|is):)\S+/gi;
const OPERATOR = 'or';
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });
const MAX_LEAD = 60;
const MAX_LENGTH = 400;
const MIN_STEM = 3;
const MAX_ENDING = 4;
const MAX_DIFFERENT_ENDING = 2;

/**
 * Cuts out the part of a text around its first match.
 *
 * @param {string} text
 * @param {string} query
 * @returns {{text: string, isMatch: boolean}[]} the parts in order
 */
export function excerptAround(text, query) {
  const wanted = [...query.replace(EXCLUDED, ' ').matchAll(WORD)]
    .map(([word]) => plain(word))
    .filter((word) => word !== OPERATOR);
  // Text without spaces is found by any part of it.
  /** @type {string[]} */
  const unspaced = query.normalize('NFKC').match(new RegExp(`${UNSPACED}+`, 'gu')) ?? [];
  const pieces = unspaced.length ? new RegExp(`${unspaced.join('|')}|(?:(?!${UNSPACED})[\\p{L}\\p{N}\\p{M}])+`, 'gu') : WORD;
  const unfinished = /[\p{L}\p{N}\p{M}]{3}$/u.test(query) ? wanted.at(-1) ?? '' : '';
  const matches = [...text.matchAll(pieces)].filter(([word]) => {
    const written = plain(word);
    if (unfinished && written.startsWith(unfinished)) return true;
    return unspaced.includes(word) || wanted.some((one) => isSameWord(written, one));
  });
  const first = matches[0]?.index ?? 0;
  const start = first > 2 * MAX_LEAD ? text.lastIndexOf(' ', first - MAX_LEAD) + 1 || first : 0;
  // Don't split a character of several code units.
  const end = graphemes.segment(text).containing(start + MAX_LENGTH)?.index ?? text.length;
  /** @type {{text: string, isMatch: boolean}[]} */
  const parts = [];
  if (start) parts.push({ text: '… ', isMatch: false });
  let last = start;
  for (const { 0: word, index } of matches) {
    if (index + word.length > end) break;
    parts.push({ text: text.slice(last, index), isMatch: false }, { text: word, isMatch: true });
    last = index + word.length;
  }
  parts.push({ text: text.slice(last, end), isMatch: false });
  if (end < text.length) parts.push({ text: ' …', isMatch: false });
  return parts.filter((part) => part.text);
}

/**
 * Two words count as the same if they begin alike, because the server compares stems, which a browser doesn't know.
 *
 * @param {string} one
 * @param {string} other
 */
function isSameWord(one, other) {
  const [shorter, longer] = one.length < other.length ? [one, other] : [other, one];
  if (shorter === longer) return true;
  let alike = 0;
  while (alike < shorter.length && shorter[alike] === longer[alike]) alike += 1;
  const ending = longer.length - alike;
  return alike >= MIN_STEM && ending <= MAX_ENDING && shorter.length - alike <= MAX_DIFFERENT_ENDING;
}
