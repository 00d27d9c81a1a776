import { buttonEl } from '../dom.js';
import { listOf, plural, text } from '../strings.js';

const MAX_NAMES = 20;

/**
 * Creates a button for each emoji below a message, with the number and the names of the users who chose it.
 *
 * @param {ShownMessage} message
 * @param {Pick<MessageContext, 'reader' | 'names'>} context
 * @returns {HTMLElement[]}
 */
export function chipsOf(message, { reader, names }) {
  return (message.reactions ?? []).map(({ emoji, users, own = reader }) => {
    const isMine = users.includes(own);
    const people = [
      ...(isMine ? [text('people.you')] : []),
      ...users.filter((user) => user !== own).slice(0, MAX_NAMES).map((user) => names.of(user)),
    ];
    if (users.length > people.length) people.push(plural('reaction.others', users.length - people.length));
    const chip = buttonEl('chip', `${emoji} ${users.length}`);
    chip.dataset.action = 'react';
    chip.dataset.value = emoji;
    chip.ariaPressed = String(isMine);
    chip.title = listOf(people);
    chip.ariaLabel = text('reaction.by', { emoji: `${emoji} ${users.length}`, names: listOf(people) });
    return chip;
  });
}
