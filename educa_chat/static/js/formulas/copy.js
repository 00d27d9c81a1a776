/** Copies formulas as they were written: LaTeX between dollar signs. The browser would copy each symbol on its own line. */

import { byId } from '../dom.js';
import { plainText } from '../excerpt.js';

byId('chat').addEventListener('copy', (event) => {
  const selection = getSelection();
  if (!selection?.rangeCount || !event.clipboardData) return;
  const range = selection.getRangeAt(0).cloneRange();
  // A formula is copied as a whole.
  const [first, last] = [range.startContainer, range.endContainer].map(formulaAround);
  if (first) range.setStartBefore(first);
  if (last) range.setEndAfter(last);
  const copied = range.cloneContents();
  if (!copied.querySelector('math[alttext]')) return;
  event.clipboardData.setData('text/plain', plainText(copied, (tex) => `$${tex}$`).trim());
  event.preventDefault();
});

/** @param {Node} node */
function formulaAround(node) {
  return (node instanceof Element ? node : node.parentElement)?.closest('math');
}
