import { el } from '../dom.js';
import { mentionSpans } from './spans.js';

/** Elements in which the server doesn't look for names either. */
const EXCLUDED = 'a, blockquote, button, code, math, pre';

/**
 * Highlights the mentions in a message. Mentions of the reader and of everyone stand out.
 *
 * @param {HTMLElement} body  of the message
 * @param {ShownMessage} message
 * @param {string} reader
 * @param {(user: string) => string} nameOf
 */
export function markMentions(body, message, reader, nameOf) {
  const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
  /** @type {Text[]} */
  const texts = [];
  while (walker.nextNode()) texts.push(/** @type {Text} */ (walker.currentNode));
  for (const text of texts.filter(({ parentElement }) => !parentElement?.closest(EXCLUDED))) {
    const spans = mentionSpans(text.data, message, reader);
    if (spans.some((span) => typeof span !== 'string')) {
      text.replaceWith(...spans.map((span) => (typeof span === 'string' ? span : mentionEl(span, nameOf))));
    }
  }
}

/**
 * @param {{name: string, user: string, isForReader: boolean}} mention
 * @param {(user: string) => string} nameOf
 */
function mentionEl({ name, user, isForReader }, nameOf) {
  const mention = el('span', isForReader ? 'mention mention-you' : 'mention', `@${user ? nameOf(user) : name}`);
  if (user) mention.title = `@${user}`;
  return mention;
}
