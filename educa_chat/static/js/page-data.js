/**
 * What the page brought along for its scripts.
 *
 * @param {string} id  of the JSON block
 * @returns {any}
 */
export function pageData(id) {
  return JSON.parse(byId(id).textContent ?? '');
}

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no #${id}`);
  return element;
}
