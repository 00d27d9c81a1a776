/** How a message stands after what has happened to it, or after what is on its way to happen. */

/** @import { Command, Frame, Reaction } from './protocol.js' */
/** @import { ShownMessage } from './message-view.js' */

/** @typedef {{[field: string]: any}} Fields  of the event, or of the command that becomes it */

const UNMARKED = { edited: false, pinned: false, question: false, answered: false, endorsed: false };

/** @type {Record<string, (message: ShownMessage, fields: Fields) => Partial<ShownMessage>>} */
const CHANGES = {
  edited: (_, { message, html, mentions, mentions_all }) => ({ message, html, mentions, mentions_all, edited: true }),
  deleted: () => ({ message: '', html: '', deleted: true, reactions: [], ...UNMARKED }),
  reaction: ({ reactions = [] }, event) => ({ reactions: reacted(reactions, event) }),
  pinned: (_, { on }) => ({ pinned: on }),
  questioned: (_, { on }) => ({ question: on }),
  answered: (_, { on }) => ({ answered: on }),
  endorsed: (_, { on }) => ({ endorsed: on }),
};

/** @type {Record<string, string>} what each command becomes when it is accepted */
const EVENT_OF = {
  edit: 'edited',
  delete: 'deleted',
  react: 'reaction',
  pin: 'pinned',
  question: 'questioned',
  answer: 'answered',
  endorse: 'endorsed',
};

/** The types of the events that change a message. */
export const CHANGING = Object.keys(CHANGES);

/**
 * @param {ShownMessage} message
 * @param {Frame} event  whose `target` it is
 * @returns {ShownMessage}
 */
export function changed(message, event) {
  if (event.seq <= (message.asOf ?? message.seq)) return message;
  return { ...message, ...(!message.deleted && CHANGES[event.type]?.(message, event)), asOf: event.seq };
}

/** @param {ShownMessage} message */
export function isUnanswered({ question, answers, deleted }) {
  return Boolean(question) && !answers && !deleted;
}

/**
 * The message as it will stand once the room has accepted `command`; what is shown meanwhile.
 *
 * @param {ShownMessage} message
 * @param {Command} command
 * @param {string} user  who gives it
 * @returns {ShownMessage}
 */
export function expected(message, command, user) {
  const change = CHANGES[EVENT_OF[command.type]];
  if (!change || message.deleted) return message;
  // A text that is not stored yet is pale, whatever else happens to a message is shown as if it were done.
  const state = command.type === 'edit' ? 'pending' : message.state;
  return { ...message, ...change(message, { ...command, user, own: true }), state };
}

/**
 * @param {Reaction[]} reactions
 * @param {Fields} event
 */
function reacted(reactions, { emoji, user, on, own: isOwn }) {
  const { users, own } = reactions.find((one) => one.emoji === emoji) ?? { users: [] };
  const others = users.filter((one) => one !== user && !(isOwn && one === own));
  const now = { emoji, users: on ? [...others, user] : others, own: isOwn ? user : own };
  if (!users.length) return [...reactions, now].filter((one) => one.users.length);
  return reactions.map((one) => (one.emoji === emoji ? now : one)).filter((one) => one.users.length);
}
