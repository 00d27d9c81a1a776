/** Reactions: an emoji on a message. */

/** @type {EventKind[]} */
export const KINDS = [
  {
    name: 'reaction',
    commandName: 'react',
    change: ({ reactions = [] }, fields) => ({ reactions: reacted(reactions, fields) }),
    action: {
      name: 'react',
      icon: 'M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18ZM8.5 14.5a4.2 4.2 0 0 0 7 0M9 9.5v.5M15 9.5v.5',
      rank: 10,
      may: (_, { mayWrite }) => mayWrite,
      run: (message, page, anchor) => {
        // A button below a message has its own emoji.
        const emoji = anchor.dataset.action === 'react' ? anchor.dataset.value : undefined;
        if (emoji) react(message, emoji, page);
        else page.picker.open(anchor, (picked) => react(message, picked, page));
      },
    },
  },
];

/**
 * @param {ShownMessage} message
 * @param {string} emoji
 * @param {RoomPage} page
 */
function react(message, emoji, { user, outgoing }) {
  const { reactions = [] } = outgoing.optimistic(message);
  const isOn = reactions.some((one) => one.emoji === emoji && one.users.includes(one.own ?? user));
  outgoing.add({ type: 'react', target: message.seq, emoji, on: !isOn });
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
