const FENCE = /(?:`{3,}|~{3,})[ \t]*([\w#+.-]+)[ \t]*$/;

/**
 * Finds the language of each block: the word after the fence that stands above its first line.
 *
 * @param {string} message
 * @param {string[]} blocks  their texts, in order
 * @returns {string[]} '' for a block without one
 */
export function languagesOf(message, blocks) {
  const lines = message.split('\n');
  let index = 0;
  return blocks.map((block) => {
    const first = block.split('\n', 1)[0].trim();
    for (let line = index; line < lines.length - 1; line += 1) {
      const language = lines[line].match(FENCE)?.[1];
      if (language === undefined || lines[line + 1].replace(/^[\s>]+/, '').trim() !== first) continue;
      index = line + 1;
      return language;
    }
    return '';
  });
}
