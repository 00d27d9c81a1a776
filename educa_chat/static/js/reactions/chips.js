import { buttonEl } from '../dom.js';
import { listOf, plural, text } from '../strings.js';

const MAX_NAMES = 20;

/**
 * Creates a button for each emoji below a message, with the number and the names of the users who chose it.
 *
 * @param {ShownMessage} message
 * @param {{reader: string, nameOf: (user: string) => string}} people
 * @returns {HTMLElement[]}
 */
export function chipsOf(message, { reader, nameOf }) {
  return (message.reactions ?? []).map(({ emoji, users, own = reader }) => {
    const isMine = users.includes(own);
    const names = [
      ...(isMine ? [text('people.you')] : []),
      ...users.filter((user) => user !== own).slice(0, MAX_NAMES).map(nameOf),
    ];
    if (users.length > names.length) names.push(plural('reaction.others', users.length - names.length));
    const chip = buttonEl('chip', `${emoji} ${users.length}`);
    chip.dataset.action = 'react';
    chip.dataset.value = emoji;
    chip.ariaPressed = String(isMine);
    chip.title = listOf(names);
    chip.ariaLabel = text('reaction.by', { emoji: `${emoji} ${users.length}`, names: listOf(names) });
    return chip;
  });
}
