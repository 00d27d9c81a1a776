import { byId } from './dom.js';

const GAP_PX = 6;

/**
 * Opens a panel next to its anchor. On a small screen, the style sheet puts it at the bottom.
 *
 * @param {HTMLElement} panel
 * @param {Element} anchor
 */
export function openAt(panel, anchor) {
  const { top, bottom, left, right } = anchor.getBoundingClientRect();
  panel.showPopover();
  const { offsetWidth: width, offsetHeight: height } = panel;
  const below = bottom + GAP_PX + height <= innerHeight;
  const start = getComputedStyle(panel).direction === 'rtl' ? left : right - width;
  panel.style.setProperty('--panel-top', `${Math.max(GAP_PX, below ? bottom + GAP_PX : top - GAP_PX - height)}px`);
  panel.style.setProperty('--panel-left', `${Math.min(Math.max(GAP_PX, start), innerWidth - width - GAP_PX)}px`);
}

/** @param {string} id */
export function dialogById(id) {
  return /** @type {HTMLDialogElement} */ (byId(id));
}

/**
 * Asks the reader something.
 *
 * @param {HTMLDialogElement} dialog  whose buttons have values
 * @returns {Promise<string>} the value that was chosen, '' if the dialog was closed
 */
export function ask(dialog) {
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue), { once: true });
  });
}
