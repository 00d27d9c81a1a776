const GAP = 6;

/**
 * Opens a panel beside what it belongs to. Where there is little room, the style sheet lays it along the lower edge.
 *
 * @param {HTMLElement} panel
 * @param {Element} anchor
 */
export function openAt(panel, anchor) {
  const { top, bottom, left, right } = anchor.getBoundingClientRect();
  panel.showPopover();
  const { offsetWidth: width, offsetHeight: height } = panel;
  const below = bottom + GAP + height <= innerHeight;
  const start = getComputedStyle(panel).direction === 'rtl' ? left : right - width;
  panel.style.setProperty('--panel-top', `${Math.max(GAP, below ? bottom + GAP : top - GAP - height)}px`);
  panel.style.setProperty('--panel-left', `${Math.min(Math.max(GAP, start), innerWidth - width - GAP)}px`);
}

/**
 * Asks the reader something.
 *
 * @param {HTMLDialogElement} dialog  whose buttons have values
 * @returns {Promise<string>} the value that was chosen, '' when it was left
 */
export function ask(dialog) {
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue), { once: true });
  });
}
