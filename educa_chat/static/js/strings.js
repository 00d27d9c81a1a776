import { pageData } from './page-data.js';

const strings = pageData('strings');
const language = document.documentElement.lang;

/** The page's language as the reader's own region writes it: what is 3:04 PM to one is 15:04 to another. */
export const locale = navigator.languages.find((tag) => tag.split('-')[0] === language) ?? language;

const pluralRules = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(locale);
const lists = new Intl.ListFormat(locale);

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
