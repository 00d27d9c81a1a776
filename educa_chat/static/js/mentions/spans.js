/** Finds the mentions in a message. */

import { EVERYBODY, LAST_PART, WRITTEN } from './written.js';

/** Elements in which the server doesn't look for names either. */
const EXCLUDED = 'a, blockquote, button, code, math, pre';

/** @typedef {{name: string, user: string, isForReader: boolean}} Mention  as it is written, without its `@`; no user: everybody */

/**
 * Replaces the mentions in the nodes of a message.
 *
 * @param {Node} body
 * @param {Pick<ShownMessage, 'mentions' | 'mentions_all'>} message
 * @param {(mention: Mention) => Node | string} replacement
 * @param {string} [reader]
 */
export function replaceMentions(body, message, replacement, reader = '') {
  if (!message.mentions?.length && !message.mentions_all) return;
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  /** @type {Text[]} */
  const texts = [];
  while (walker.nextNode()) texts.push(/** @type {Text} */ (walker.currentNode));
  for (const text of texts.filter(({ parentElement }) => !parentElement?.closest(EXCLUDED))) {
    const spans = mentionSpans(text.data, message, reader);
    if (spans.some((span) => typeof span !== 'string')) {
      text.replaceWith(...spans.map((span) => (typeof span === 'string' ? span : replacement(span))));
    }
  }
}

/**
 * Splits a text at its mentions. The server has decided who is mentioned; other names after an `@` are text.
 *
 * @param {string} text
 * @param {Pick<ShownMessage, 'mentions' | 'mentions_all'>} message
 * @param {string} reader
 * @returns {(string | Mention)[]} the parts in order
 */
export function mentionSpans(text, { mentions = [], mentions_all: mentionsAll }, reader) {
  /** @type {(string | Mention)[]} */
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
