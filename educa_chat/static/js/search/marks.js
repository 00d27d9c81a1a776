/** What was asked for, marked in what was found. */

import { plain } from './plain.js';

const WORD = /[\p{L}\p{N}\p{M}]+/gu;
const EXCLUDED = /(?<!\S)-\S+/g;
const OPERATOR = 'or';
const LEAD = 60;
const LENGTH = 400;
const SHORTEST_STEM = 3;
const LONGEST_ENDING = 4;
const DIFFERENT_ENDING = 2;

/**
 * The part of a text around the first word that was asked for, with all such words marked.
 *
 * @param {string} text
 * @param {string} query
 * @returns {DocumentFragment}
 */
export function markedExcerpt(text, query) {
  const asked = [...query.replace(EXCLUDED, ' ').matchAll(WORD)]
    .map(([word]) => plain(word))
    .filter((word) => word !== OPERATOR);
  const found = [...text.matchAll(WORD)].filter(([word]) => asked.some((one) => isSameWord(plain(word), one)));
  const first = found[0]?.index ?? 0;
  const start = first > 2 * LEAD ? text.lastIndexOf(' ', first - LEAD) + 1 || first : 0;
  const end = start + LENGTH;
  const fragment = document.createDocumentFragment();
  if (start) fragment.append('… ');
  let place = start;
  for (const { 0: word, index } of found) {
    if (index + word.length > end) break;
    const mark = document.createElement('mark');
    mark.append(word);
    fragment.append(text.slice(place, index), mark);
    place = index + word.length;
  }
  fragment.append(text.slice(place, end));
  if (end < text.length) fragment.append(' …');
  return fragment;
}

/**
 * The server compares stems, which are not known here: two words are taken for one when they begin alike.
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
  return alike >= SHORTEST_STEM && ending <= LONGEST_ENDING && shorter.length - alike <= DIFFERENT_ENDING;
}
