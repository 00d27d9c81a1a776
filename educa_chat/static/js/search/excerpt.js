/** Which part of a message the search shows, and which words in it match. */

import { plain } from './plain.js';

const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const EXCLUDED = /(?<!\S)-\S+/g;
const OPERATOR = 'or';
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
 * @returns {{text: string, isMatch: boolean}[]} what follows each other
 */
export function excerptAround(text, query) {
  const wanted = [...query.replace(EXCLUDED, ' ').matchAll(WORD)]
    .map(([word]) => plain(word))
    .filter((word) => word !== OPERATOR);
  const matches = [...text.matchAll(WORD)].filter(([word]) => wanted.some((one) => isSameWord(plain(word), one)));
  const first = matches[0]?.index ?? 0;
  const start = first > 2 * MAX_LEAD ? text.lastIndexOf(' ', first - MAX_LEAD) + 1 || first : 0;
  const end = start + MAX_LENGTH;
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
 * Two words are taken for the same if they begin alike, because the server compares stems, which a browser doesn't know.
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
