/**
 * The amount of history that stays on the page. A page is as fast after ten thousand messages as after the first,
 * because rows far from the reader are removed. They are loaded again when the reader comes near.
 */

/** With more rows than this, all but TRIM_TO_ROWS are removed. */
export const MAX_ROWS = 250;
export const TRIM_TO_ROWS = 200;
/** More is loaded when the reader is this close to an end of the log. Rows within this distance are never removed. */
export const PREFETCH_PX = 1200;
/** Selected text stays on the page, up to this many rows. */
export const MAX_ROWS_WITH_SELECTION = 1000;

/**
 * @param {{isAtBottom: boolean, scrollTop: number, scrollHeight: number, clientHeight: number}} view
 * @returns {boolean} whether the top is the end that is farther from the reader
 */
export function isTopFarther({ isAtBottom, scrollTop, scrollHeight, clientHeight }) {
  return isAtBottom || scrollTop > scrollHeight - scrollTop - clientHeight;
}

/**
 * @param {number} count  of the rows
 * @param {object} row  counted from the end that is farther from the reader
 * @param {(index: number) => number} row.distanceOf  how many pixels it is from what the reader sees
 * @param {(index: number) => boolean} row.isSelected  whether removing it would remove selected text
 * @returns {number} how many rows to remove from that end
 */
export function rowsToTrim(count, { distanceOf, isSelected }) {
  if (count <= MAX_ROWS) return 0;
  const keepsSelection = count <= MAX_ROWS_WITH_SELECTION;
  let index = 0;
  while (count - index > TRIM_TO_ROWS) {
    if (distanceOf(index) < PREFETCH_PX || (keepsSelection && isSelected(index))) break;
    index += 1;
  }
  return index;
}
