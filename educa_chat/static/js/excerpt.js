/** Messages as plain text, without markup. */

import { contentOf } from './content.js';
import { cut } from './graphemes.js';
import { text } from './strings.js';

const LENGTH = 120;
const BLOCKS = new Set(['blockquote', 'br', 'hr', 'li', 'ol', 'p', 'pre', 'table', 'td', 'th', 'tr', 'ul']);

/**
 * @param {Node} node
 * @param {(tex: string) => string} [formula]  how a formula is written
 * @returns {string} its text; what stands below something else there, is below it here
 */
export function plainText(node, formula = (tex) => tex) {
  if (node instanceof Text) return node.data;
  if (node instanceof Element && node.hasAttribute('alttext')) return formula(node.getAttribute('alttext') ?? '');
  const inner = [...node.childNodes].map((child) => plainText(child, formula)).join('');
  return node instanceof Element && BLOCKS.has(node.localName) ? `${inner.replace(/\n$/, '')}\n` : inner;
}

/** @param {Pick<ShownMessage, 'html' | 'message'>} message */
export function plainOf({ html, message }) {
  return html ? plainText(contentOf(html, message)).trim() : message;
}

/** @param {Pick<ShownMessage, 'html' | 'message' | 'deleted'>} message */
export function excerptOf(message) {
  return message.deleted ? text('message.deleted') : cut(plainOf(message), LENGTH);
}
