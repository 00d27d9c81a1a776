/** Messages: send, edit, delete. */

import { serverNow } from '../clock.js';
import { ask, dialogById } from '../popover.js';

const EDITABLE_FOR_MS = 24 * 3600_000;
const UNMARKED = { edited: false, pinned: false, question: false, answered: false, endorsed: false };

/** @type {MessageAction} */
const reply = {
  name: 'reply',
  icon: 'M10 5 4 11l6 6M4.5 11H14a6 6 0 0 1 6 6v2',
  rank: 20,
  may: (_, { mayWrite }) => mayWrite,
  run: (message, { composer }) => composer.reply(message),
};

/** @type {MessageAction} */
const edit = {
  name: 'edit',
  icon: 'M4 20h4L19 9l-4-4L4 16v4ZM13 7l4 4',
  rank: 30,
  may: isEditable,
  run: (message, { composer, outgoing }) => composer.edit(outgoing.optimistic(message)),
};

/** @type {MessageAction} */
const remove = {
  name: 'delete',
  icon: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13',
  rank: 110,
  may: ({ own }, { isInstructor }) => isInstructor || own,
  run: async ({ seq }, { outgoing }) => {
    if (await ask(dialogById('delete-dialog'))) outgoing.add({ type: 'delete', target: seq });
  },
};

/** @type {EventKind[]} */
export const KINDS = [
  {
    name: 'chat_message',
    commandName: 'message',
    isMessage: true,
    action: reply,
    receive: (event, { names, typing, outgoing, unread, notifications, composer, rules, isLive }) => {
      const message = /** @type {Message} */ (/** @type {unknown} */ (event));
      names.learn([message]);
      typing.stop(message.user);
      outgoing.stored([message]);
      unread.arrived(message.seq, message.own);
      const live = isLive(message.seq);
      notifications.whenOpened((opened) => opened.arrived(message, live));
      if (message.own) composer.holdUntil(rules.nextMessageAt(message.datetime));
    },
  },
  {
    name: 'edited',
    commandName: 'edit',
    action: edit,
    looksPending: true,
    change: (_, { message, html, mentions, mentions_all }) => ({ message, html, mentions, mentions_all, edited: true }),
    receive: (event, page) => {
      follow(event.target, page);
      page.log.forgetText(event.target, false);
      page.notifications.whenOpened((opened) => opened.edited(event));
    },
    accepted: ({ composer }, { target = 0 }, seq) => composer.stored(target, seq),
  },
  {
    name: 'deleted',
    commandName: 'delete',
    action: remove,
    changesAnswers: true,
    change: () => ({ message: '', html: '', deleted: true, reactions: [], ...UNMARKED }),
    receive: ({ target }, page) => {
      const { pins, reports, notifications, unread } = page;
      follow(target, page);
      unread.removed(target);
      page.log.forgetText(target, true);
      pins.whenOpened((opened) => opened.set(target, false));
      reports.whenOpened((opened) => opened.set(target, false));
      notifications.whenOpened((opened) => opened.forget(target));
    },
  },
];

/**
 * Updates a message's text wherever it is quoted.
 *
 * @param {number} target
 * @param {RoomPage} page
 */
async function follow(target, { pins, composer, find }) {
  pins.whenOpened((opened) => opened.refresh(target));
  if (!composer.isAbout(target)) return;
  const message = await find(target).catch(() => undefined);
  if (message) composer.follow(message);
}

/**
 * @param {ShownMessage} message
 * @param {Reader} reader
 */
function isEditable({ own, datetime, deleted }, { mayWrite }) {
  return !deleted && own && mayWrite && serverNow() - Date.parse(datetime) < EDITABLE_FOR_MS;
}
