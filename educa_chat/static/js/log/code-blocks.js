import { copyText } from '../clipboard.js';
import { buttonEl, el } from '../dom.js';
import { text } from '../strings.js';
import { languagesOf } from './code-languages.js';

const COPIED_FOR_MS = 2000;

/**
 * Puts the language and a button that copies it above each block of code. They lie over the message and not in it, so they are
 * no part of its text.
 *
 * @param {HTMLElement} element  of a message
 * @param {HTMLElement} body  its text
 * @param {string} message  as it was typed
 */
export function addCodeHeads(element, body, message) {
  const blocks = [...body.querySelectorAll('pre')];
  const languages = languagesOf(message, blocks.map(({ textContent }) => textContent ?? ''));
  const heads = blocks.map((block, index) => headOf(block, languages[index], element.tabIndex));
  const layer = el('div', 'code-heads');
  layer.append(...heads);
  body.after(layer);
  new ResizeObserver(() => {
    const left = body.offsetLeft - layer.offsetLeft;
    for (const [index, { offsetTop, offsetLeft, offsetWidth }] of blocks.entries()) {
      Object.assign(heads[index].style, { top: `${offsetTop}px`, left: `${left + offsetLeft}px`, width: `${offsetWidth}px` });
    }
  }).observe(body);
}

/**
 * @param {HTMLElement} block
 * @param {string} language
 * @param {number} tabIndex
 */
function headOf(block, language, tabIndex) {
  const head = el('div', 'code-head');
  const button = buttonEl('', text('message.copy'));
  button.tabIndex = tabIndex;
  button.addEventListener('click', async () => {
    await copyText(block.textContent ?? '');
    button.textContent = text('message.copied');
    setTimeout(() => (button.textContent = text('message.copy')), COPIED_FOR_MS);
  });
  head.append(el('span', '', language), button);
  return head;
}
