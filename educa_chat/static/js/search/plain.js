/**
 * A word as it is compared: without accents, in small letters.
 *
 * @param {string} word
 */
export function plain(word) {
  return word.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
}
