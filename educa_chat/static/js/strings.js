import { pageData } from './dom.js';
import { language, locale } from './locale.js';

export { locale };

const TIMEOUT_MS = 15_000;
const strings = pageData('strings');

const pluralRules = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(locale);
const lists = new Intl.ListFormat(locale);

/** @type {Record<string, string>} the addresses of strings that the page doesn't contain, by the name of their part */
const addresses = pageData('part-strings');

/** @type {Map<string, Promise<void>>} parts whose strings are being loaded, or have been */
const loads = new Map();

/**
 * Loads the strings of a part of the page, once.
 *
 * @param {string} part
 * @throws what `fetch` throws, and Error for an answer without the strings; then the next call tries again
 */
export function loadStrings(part) {
  let load = loads.get(part);
  if (load === undefined) {
    load = fetchStrings(part);
    loads.set(part, load);
    load.catch(() => loads.delete(part));
  }
  return load;
}

/** @param {string} part */
async function fetchStrings(part) {
  const response = await fetch(addresses[part], { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`The strings were answered with ${response.status}`);
  strings[part] = await response.json();
}

/**
 * @param {string} key  such as `status.connected`
 * @param {Record<string, string>} [values]  for the {names} in the text
 * @returns {string}
 */
export function text(key, values = {}) {
  return fill(lookUp(key), values);
}

/**
 * @param {string} key
 * @param {number} count
 * @returns {string}
 */
export function plural(key, count) {
  const forms = lookUp(key);
  return fill(forms[pluralRules.select(count)] ?? forms.other, { count: numbers.format(count) });
}

/** @param {string[]} names */
export function listOf(names) {
  return lists.format(names);
}

/** @param {string} key */
function lookUp(key) {
  return key.split('.').reduce((branch, name) => branch?.[name], strings) ?? key;
}

/**
 * @param {string} pattern
 * @param {Record<string, string>} values
 */
function fill(pattern, values) {
  return pattern.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
