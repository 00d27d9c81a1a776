/** Messages as plain text, without markup. */

import { contentOf } from './content.js';
import { cut } from './graphemes.js';
import { text } from './strings.js';

const LENGTH = 120;
const BLOCKS = new Set(['blockquote', 'br', 'hr', 'li', 'ol', 'p', 'pre', 'table', 'td', 'th', 'tr', 'ul']);

/**
 * @param {Node} node
 * @param {(tex: string) => string} [formula]  how a formula is written
 * @returns {string} its text, with the same line breaks
 */
export function plainText(node, formula = (tex) => tex) {
  if (node instanceof Text) return node.data;
  if (node instanceof Element && node.hasAttribute('alttext')) return formula(node.getAttribute('alttext') ?? '');
  const inner = [...node.childNodes].map((child) => plainText(child, formula)).join('');
  if (!(node instanceof Element && BLOCKS.has(node.localName))) return inner;
  const number = node instanceof HTMLLIElement && node.hasAttribute('value') ? `${node.value}. ` : '';
  return `${number}${inner.replace(/\n$/, '')}\n`;
}

/**
 * @param {ShownMessage} message
 * @param {MentionNames} mentions
 */
export function plainOf(message, mentions) {
  if (!message.html) return message.message;
  const content = contentOf(message.html, message.message);
  mentions.name(content, message);
  return plainText(content).trim();
}

/**
 * @param {ShownMessage} message
 * @param {MentionNames} mentions
 */
export function excerptOf(message, mentions) {
  return message.deleted ? text('message.deleted') : cut(plainOf(message, mentions), LENGTH);
}
