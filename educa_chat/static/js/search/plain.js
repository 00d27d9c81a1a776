/**
 * A word in the form that is compared: without accents, in lower case.
 *
 * @param {string} word
 */
export function plain(word) {
  return word.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
}
