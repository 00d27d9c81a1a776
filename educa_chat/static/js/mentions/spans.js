/** Finds the mentions in a text. */

import { EVERYBODY, LAST_PART, WRITTEN } from './written.js';

/**
 * Splits a text at its mentions. The server has decided who is mentioned; other names after an `@` are text.
 *
 * @param {string} text
 * @param {Pick<ShownMessage, 'mentions' | 'mentions_all'>} message
 * @param {string} reader
 * @returns {(string | {name: string, user: string, isForReader: boolean})[]} the parts in order; names without their `@`
 */
export function mentionSpans(text, { mentions = [], mentions_all: mentionsAll }, reader) {
  /** @type {(string | {name: string, user: string, isForReader: boolean})[]} */
  const spans = [];
  let last = 0;
  for (const { 1: written, index } of text.matchAll(WRITTEN)) {
    for (let name = written; name; name = name.replace(LAST_PART, '')) {
      const member = mentions.find((one) => one === name) ?? mentions.find((one) => folded(one) === folded(name));
      const isEverybody = Boolean(mentionsAll) && name.toLowerCase() === EVERYBODY;
      if (!isEverybody && member === undefined) continue;
      spans.push(text.slice(last, index), { name, user: member ?? '', isForReader: isEverybody || member === reader });
      last = index + 1 + name.length;
      break;
    }
  }
  return [...spans, text.slice(last)].filter((span) => span !== '');
}

/** @param {string} name */
function folded(name) {
  return name.normalize('NFKC').toLowerCase();
}
