const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/**
 * @param {string} words
 * @param {number} length  in characters as people count them
 * @returns {string} on one line, with an ellipsis if it was longer
 */
export function cut(words, length) {
  // A character can have several code units, but no legible one has more than this.
  const line = words.replace(/\s+/g, ' ').slice(0, 40 * length);
  let count = 0;
  for (const { index } of graphemes.segment(line)) {
    if (count === length) return `${line.slice(0, index).trimEnd()}…`;
    count += 1;
  }
  return line;
}
