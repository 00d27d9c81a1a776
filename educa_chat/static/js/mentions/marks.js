/** Whom a message mentions, marked in its text. */

/** @import { ShownMessage } from '../message-view.js' */

import { make } from '../message-view.js';
import { EVERYBODY, PUNCTUATION, WRITTEN } from './written.js';

const UNREAD = 'a, button, code, math, pre';

/**
 * @param {HTMLElement} body  of the message
 * @param {ShownMessage} message
 * @param {string} reader  for whom her own name and everybody's stand out
 */
export function markMentions(body, { mentions = [], mentions_all: mentionsAll }, reader) {
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  /** @type {Text[]} */
  const texts = [];
  while (walker.nextNode()) texts.push(/** @type {Text} */ (walker.currentNode));
  for (const text of texts.filter(({ parentElement }) => !parentElement?.closest(UNREAD))) {
    /** @type {(string | Node)[]} */
    const parts = [];
    let place = 0;
    for (const { 1: written, index } of text.data.matchAll(WRITTEN)) {
      for (const name of new Set([written, written.replace(PUNCTUATION, '')])) {
        const isEverybody = Boolean(mentionsAll) && name.toLowerCase() === EVERYBODY;
        const member = mentions.find((one) => one === name) ?? mentions.find((one) => folded(one) === folded(name));
        if (!isEverybody && member === undefined) continue;
        const mention = make('span', 'mention', `@${name}`);
        if (isEverybody || member === reader) mention.classList.add('mention-you');
        parts.push(text.data.slice(place, index), mention);
        place = index + 1 + name.length;
        break;
      }
    }
    if (parts.length) text.replaceWith(...parts, text.data.slice(place));
  }
}

/** @param {string} name */
function folded(name) {
  return name.normalize('NFKC').toLowerCase();
}
