// Letters that don't decompose, as the server's index has them.
const LETTERS = new Map(Object.entries({ ł: 'l', ø: 'o', đ: 'd', ð: 'd', ħ: 'h', ı: 'i', ß: 'ss', æ: 'ae', œ: 'oe', þ: 'th', ς: 'σ' }));

/**
 * A word in the form that is compared: without accents, in lower case.
 *
 * @param {string} word
 */
export function plain(word) {
  return word.normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase().replace(/[łøđðħıßæœþς]/g, (letter) => LETTERS.get(letter) ?? letter);
}
