/** Creates, finds and reads elements of the page. */

/**
 * Creates an element.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {string} [content]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function el(tag, className = '', content = '') {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = content;
  return element;
}

/**
 * Creates a button that doesn't submit a form.
 *
 * @param {string} [className]
 * @param {string} [label]
 */
export function buttonEl(className = '', label = '') {
  const button = el('button', className, label);
  button.type = 'button';
  return button;
}

/**
 * Finds an element of the page.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`The page has no #${id}`);
  return element;
}

/**
 * Reads the data that the server put into the page for the scripts.
 *
 * @param {string} id  of the JSON block
 * @returns {any}
 */
export function pageData(id) {
  return JSON.parse(byId(id).textContent ?? '');
}
