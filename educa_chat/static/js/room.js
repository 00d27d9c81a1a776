/** The room page: what the server says goes into the log, what the reader says into the outbox. */

/** @import { Frame, Message, Page } from './protocol.js' */
/** @import { Entry } from './outbox.js' */
/** @import { ShownMessage } from './message-view.js' */
/** @import { Completion } from './mentions/completion.js' */
/** @import { Notifications } from './notifications/notifications.js' */
/** @import { Search } from './search/search.js' */
/** @import { ClassBar } from './class/class-bar.js' */
/** @import { Muted } from './class/muted.js' */
/** @import { Reports } from './class/reports.js' */

import { Actions, isEditable } from './actions.js';
import { Composer } from './composer.js';
import { Connection } from './connection.js';
import { timeOf } from './dates.js';
import { loadMessages } from './history.js';
import { HistoryWindow } from './history-window.js';
import { LogView } from './log-view.js';
import { expected } from './message-state.js';
import { Notice } from './notice.js';
import { Originals } from './originals.js';
import { Outbox, isMessage } from './outbox.js';
import { byId, pageData } from './page-data.js';
import { People } from './people.js';
import { Pins } from './pins.js';
import { ask } from './popover.js';
import { ReactionPicker } from './reactions.js';
import { RecentEvents } from './recent-events.js';
import { RoomRules } from './room-rules.js';
import { Rooms } from './rooms.js';
import { Status } from './status.js';
import * as storage from './storage.js';
import { text } from './strings.js';
import { TypingLine, typingTeller } from './typing.js';
import { Unread } from './unread.js';
import { followViewport } from './viewport.js';

const PAGE = 50;
const CATCH_UP_WITHIN = 2000;
const WORTH_A_WORD = 10_000;

/** @type {number | string} */
const room = pageData('course-id');
/** @type {string} */
const user = pageData('request-user');
/** @type {{name: string, role: 'student' | 'instructor'}} */
let reader = pageData('reader');
const pageRole = reader.role;
const place = `${user}:${room}`;

/** @type {{seq: number, datetime?: string, epoch: string} | null} up to where the log is shown; null: nothing yet */
let position = null;
/** Whether the session has ended, and the page shows no more of the room. */
let hasEnded = false;

const status = new Status(signInUrl());
const notice = new Notice();
const people = new People(user, () => log.renameReaders());
const typing = new TypingLine();
const picker = new ReactionPicker();
const recent = new RecentEvents();
const originals = new Originals({ room, recent, onKnown: (seqs) => log.renderRepliesTo(seqs) });

/**
 * What a button in a message does, or an item of its menu.
 *
 * @type {Record<string, (message: ShownMessage, button: HTMLElement) => unknown>}
 */
const acts = {
  retry: ({ id = '' }) => outbox.retry(id),
  discard: ({ id = '' }) => outbox.discard(id),
  copy: ({ message }) => copy(message),
  show: (_, { dataset }) => historyWindow.show(Number(dataset.value)),
  more: (message, button) => actions.open(message, button),
  reply: (message) => composer.reply(message),
  react: (message, button) => {
    if (button.dataset.value) react(message, button.dataset.value);
    else picker.open(button, (emoji) => react(message, emoji));
  },
  edit: (message) => composer.edit(message),
  report: async ({ seq }) => {
    const reason = /** @type {HTMLTextAreaElement} */ (byId('report-reason'));
    reason.value = '';
    if (await ask(dialog('report-dialog'))) outbox.add({ type: 'report', target: seq, reason: reason.value.trim() });
  },
  delete: async ({ seq }) => (await ask(dialog('delete-dialog'))) && outbox.add({ type: 'delete', target: seq }),
  pin: ({ seq, pinned }) => outbox.add({ type: 'pin', target: seq, on: !pinned }),
  answer: ({ seq, answered }) => outbox.add({ type: 'answer', target: seq, on: !answered }),
  question: ({ seq, question }) => outbox.add({ type: 'question', target: seq, on: !question }),
  endorse: ({ seq, endorsed }) => outbox.add({ type: 'endorse', target: seq, on: !endorsed }),
  mute: async ({ user: student }) => {
    const minutes = await ask(dialog('mute-dialog'));
    if (minutes) outbox.add({ type: 'mute', user: student, minutes: Number(minutes) });
  },
};

const log = new LogView({
  user,
  nameOf: (name) => people.nameOf(name),
  wordsOn: (event) => rules.wordsOn(event),
  isReported: (seq) => oversight?.reports.has(seq) ?? false,
  expected: standing,
  originals,
  onTop: () => historyWindow.loadOlder(),
  onEnd: () => historyWindow.loadNewer(),
  onNewest: () => historyWindow.toNewest(),
  onBottom: () => unread.look(),
  onAction: (action, message, button) => acts[action](message, button),
});

const historyWindow = new HistoryWindow({
  room,
  log,
  recent,
  originals,
  epoch: () => position?.epoch,
  onMessages: settle,
  onNewest: () => {
    showUnstored();
    showRules();
  },
  onFailure: (reason) => notice.tell(text(reason)),
});

const connection = new Connection({
  prepare,
  url: socketUrl,
  onFrame: receive,
  onState: (state, failures) => {
    status.show(state, failures);
    if (state === 'connected') outbox.connected();
    else outbox.disconnected();
    if (state === 'connected' || state === 'not-member') composer.open(state === 'connected');
    if (state === 'signed-out' || state === 'other-user') end(state === 'signed-out');
  },
  isBehind,
});

const outbox = new Outbox(place, {
  send: (frame) => connection.send(frame),
  onOverdue: () => connection.reconnect(),
  onChange: showEntry,
  onGone: (id) => log.removeUnstored(id),
  onHeldUp: (isHeldUp) => status.holdUp(isHeldUp),
});

const unread = new Unread({
  log,
  newest: () => position?.seq ?? 0,
  tell: (seq) => connection.send({ type: 'read', seq }),
});

const composer = new Composer({
  place,
  onMessage: (said) => {
    outbox.add({ type: 'message', ...said });
    historyWindow.showNewest();
  },
  onEdit: (target, message) => outbox.add({ type: 'edit', target, message }),
  onEditLast: () => {
    const last = log.lastOwn;
    if (last && isEditable(last, who)) composer.edit(last);
  },
  onTyping: typingTeller(() => connection.send({ type: 'typing' })),
});

const rules = new RoomRules({
  user,
  isInstructor: reader.role === 'instructor',
  nameOf: (name) => people.nameOf(name),
  onChange: showRules,
});

const who = {
  get isInstructor() {
    return rules.isInstructor;
  },
  get mayWrite() {
    return rules.mayWrite;
  },
  isOwn: (/** @type {number} */ seq) => Boolean((log.messageAt(seq) ?? originals.of(seq))?.own),
};

const actions = new Actions({
  who,
  messageOf: (element) => log.messageOf(element),
  onAction: (action, message, anchor) => acts[action](message, anchor),
});

const pins = new Pins({
  find: async (seq) => log.messageAt(seq) ?? originals.find(seq),
  onShow: (seq) => historyWindow.show(seq),
});

/** @type {Search | undefined} */
let search;
/** @type {{bar: ClassBar, reports: Reports, muted: Muted} | undefined} how an instructor leads the class */
let oversight;
/** @type {Completion | undefined} */
let completion;
/** @type {Promise<Notifications | null> | undefined} */
let notifications;
/** The head when the socket was opened: what is behind it is said now. */
let liveAfter = 0;
/** The event that is by the reader or about them, as the frame `own` has said. */
let ownSeq = 0;
/** The newest message of this window that was stored. */
let acked = { seq: 0, id: '' };

/** @type {Record<string, ((event: Frame) => void) | undefined>} */
const events = {
  chat_message: said,
  edited: (event) => pins.apply(event),
  deleted: (event) => {
    pins.apply(event);
    overseen(event);
    notifications?.then((opened) => opened?.forget(event.target));
  },
  pinned: (event) => pins.apply(event),
  closed: ruled,
  slowed: ruled,
  muted: ruled,
  anonymity: ruled,
  reported: overseen,
  settled: overseen,
};

/**
 * What is no event of the log, even where it names a seq.
 *
 * @type {Record<string, ((signal: Frame) => void) | undefined>}
 */
const signals = {
  welcome,
  reset: startOver,
  ack: acknowledged,
  error: refused,
  own: ({ seq }) => (ownSeq = seq),
  presence: (signal) => people.show(signal),
  typing: (signal) => signal.user !== user && typing.show(signal),
  read: ({ seq }) => {
    unread.moved(seq);
    notifications?.then((opened) => opened?.read(seq));
  },
};

new Rooms();
byId('search-button').addEventListener('click', toggleSearch);
addEventListener('hashchange', showLinked);
byId('chat-message-input').addEventListener('input', offerMembers);
byId('notifications-ask').addEventListener('click', () => wantNotifications().then((opened) => opened?.ask()));
if (storage.read(`notifications:${user}`)) wantNotifications();
// A click that came before would have been lost.
for (const id of ['search-button', 'unanswered']) byId(id).removeAttribute('disabled');
followViewport();
composer.limitTo(pageData('limits').message_length);
outbox.restore();
showUnstored();
connection.connect();

/** @param {boolean} ask */
async function prepare(ask) {
  if (!position) begin(await loadMessages(room, { limit: PAGE }));
  else if (ask) await loadMessages(room, { limit: 1 });
  // Somebody has signed in again, who need not be the same user.
  if (hasEnded) await new Promise(() => location.reload());
}

/**
 * Nobody who comes to this browser now may see more of the room. What still goes on in the page changes only elements that
 * are not in it any more.
 *
 * @param {boolean} isForUser  whether what the user wrote may still be shown
 */
async function end(isForUser) {
  if (hasEnded) return;
  hasEnded = true;
  storage.close();
  unread.startOver();
  notifications?.then((opened) => opened?.read(Infinity));
  const label = byId('chat-message-input').ariaLabel ?? '';
  for (const part of document.querySelectorAll('.room > :not(.room-header), .sidebar-rooms .unread')) part.remove();
  if (!isForUser) return byId('sign-out').remove();
  const module = await import('./account/ended.js').catch(() => null);
  module?.showUnsent({ place, label, signInUrl: signInUrl() });
}

/** @param {Page} page  the newest of a history of which nothing is known yet */
function begin(page) {
  const { messages, head, epoch } = page;
  unread.startOver();
  recent.forget();
  originals.forget();
  const last = messages.at(-1);
  position = { seq: head, epoch: String(epoch), datetime: last?.seq === head ? last.datetime : undefined };
  historyWindow.begin(page);
}

/** @param {ShownMessage[]} messages  are stored, whether or not they were said here */
function settle(messages) {
  people.learn(messages);
  for (const message of messages) {
    if (message.own && message.id) outbox.stored(message.id);
  }
}

function showUnstored() {
  for (const entry of outbox.entries()) {
    if (isMessage(entry)) log.showUnstored(unstored(entry));
  }
}

/** A link has led to this page for one of its messages. */
function showLinked() {
  const seq = location.hash.match(/^#message-(\d{1,16})$/)?.[1];
  if (!seq) return;
  // Who loads the page again wants to be where she was.
  history.replaceState(history.state, '', location.pathname + location.search);
  historyWindow.show(Number(seq));
}

/**
 * What it takes to lead the class is loaded for instructors alone.
 *
 * @param {number} reported  how many messages have open reports
 */
async function oversee(reported) {
  const modules = await Promise.all([
    import('./class/class-bar.js'),
    import('./class/reports.js'),
    import('./class/muted.js'),
  ]).catch(() => null);
  if (!modules) return;
  const [{ ClassBar }, { Reports }, { Muted }] = modules;
  oversight ??= {
    bar: new ClassBar((command) => outbox.add(command)),
    reports: new Reports({ room, onChange: (seqs) => [...seqs].forEach((seq) => log.change(seq)) }),
    muted: new Muted({
      room,
      onKnown: (muted) => people.learn(muted),
      lift: (student) => outbox.add({ type: 'mute', user: student, minutes: 0 }),
    }),
  };
  oversight.bar.show(rules);
  oversight.reports.begin(reported);
  oversight.muted.look();
}

/** The search is loaded when it is wanted: it is no part of what a reader waits for. */
async function toggleSearch() {
  const module = await import('./search/search.js').catch(() => null);
  if (!module) return notice.tell(text('search.failed'));
  search ??= new module.Search({ room, onChoice: (seq) => historyWindow.show(seq) });
  search.toggle();
}

/** @param {Event} event  of the field, in which the first `@` has come to stand */
async function offerMembers({ currentTarget: field }) {
  if (completion || !/** @type {HTMLTextAreaElement} */ (field).value.includes('@')) return;
  const module = await import('./mentions/completion.js').catch(() => null);
  if (!module || completion) return;
  completion = new module.Completion({ room, user, mayMentionAll: () => who.isInstructor });
  completion.look();
}

/** @returns {Promise<Notifications | null>} null where they could not be loaded */
function wantNotifications() {
  notifications ??= import('./notifications/notifications.js').then(
    (module) => new module.Notifications({
      room,
      user,
      isOwn: async (seq) => Boolean((log.messageAt(seq) ?? (await originals.find(seq)))?.own),
      onChoice: (seq) => historyWindow.show(seq),
    }),
    () => (notifications = undefined, null),
  );
  return notifications;
}

/**
 * @param {ShownMessage} message
 * @param {string} emoji
 */
function react(message, emoji) {
  const isOn = standing(message).reactions?.some((one) => one.emoji === emoji && one.users.includes(one.own ?? user));
  outbox.add({ type: 'react', target: message.seq, emoji, on: !isOn });
}

/**
 * @param {ShownMessage} message
 * @returns {ShownMessage} as it will stand when what waits is stored
 */
function standing(message) {
  return outbox.commandsOn(message.seq).reduce((now, command) => expected(now, command, user), message);
}

/** @param {Frame} event */
function overseen(event) {
  oversight?.reports.apply(event);
}

/** @param {Frame} event */
function ruled(event) {
  rules.apply(event);
  log.appendLine(event);
  if (event.type === 'muted') oversight?.muted.look();
}

function showRules() {
  composer.close(rules.reason);
  if (rules.anonymity !== null) composer.allowAnonymity(rules.anonymity && !rules.isInstructor);
  composer.holdUntil(rules.nextMessageAt(log.lastOwn?.datetime));
  oversight?.bar.show(rules);
}

function signInUrl() {
  const url = new URL(pageData('sign-in-url'), location.href);
  url.searchParams.set('next', location.pathname);
  return url.href;
}

function socketUrl() {
  if (!position) throw new Error('A socket is opened from a position');
  const query = new URLSearchParams({ after: String(position.seq), epoch: position.epoch });
  if (position.datetime) query.set('at', position.datetime);
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  return `${scheme}://${location.host}/ws/chat/room/${room}/?${query}`;
}

/** @param {Frame} frame */
function receive(frame) {
  const signal = signals[frame.type];
  if (signal) signal(frame);
  else if (frame.seq) advance(frame);
}

/** @param {Frame} event  of whatever type: those that are unknown here take their place too */
function advance(event) {
  if (!position || event.seq <= position.seq) return;
  position = { ...position, seq: event.seq, datetime: event.datetime };
  /** @type {Frame} */
  const known = { ...event, own: event.seq === ownSeq || event.user === user };
  // A message that is anonymous comes without its id.
  if (event.seq === acked.seq) known.id ??= acked.id;
  historyWindow.take(known);
  events[event.type]?.(known);
  unread.look();
}

/** @param {Frame} frame */
function welcome(frame) {
  const { me, limits, state } = frame;
  // Someone else has signed in with this browser: what waits here is not theirs to say.
  if (me.user !== user) return connection.stop('other-user');
  // What the page has for instructors is on theirs alone.
  if (me.role !== pageRole) return location.reload();
  reader = { name: me.name, role: me.role };
  composer.limitTo(limits.message_length);
  rules.begin(frame);
  pins.replace(state.pinned ?? []);
  connection.welcomed();
  unread.welcomed(state.read);
  if (rules.isInstructor) oversee(state.reports ?? 0);
  showLinked();
  liveAfter = frame.head;
}

/** What is shown and what the server has may have nothing in common any more. */
function startOver() {
  position = null;
  connection.reconnect();
}

/** @param {Frame} ack */
function acknowledged({ id, seq, datetime }) {
  const entry = outbox.stored(id);
  if (!entry || !position) return;
  if (isMessage(entry)) acked = { seq, id };
  if (entry.command.type === 'report') notice.tell(text('report.sent'));
  // The event itself comes next, unless it has been here already.
  const isHere = seq <= position.seq;
  if (!isMessage(entry)) {
    if (isHere) log.change(entry.command.target ?? 0);
  } else if (isHere) log.removeUnstored(id);
  else log.showUnstored({ ...unstored(entry), datetime, state: undefined });
}

/** @param {Frame} refusal */
function refused(refusal) {
  if (refusal.code === 'slow_mode') composer.holdUntil(Date.now() + (refusal.retry_after ?? 0) * 1000);
  outbox.refused(/** @type {any} */ (refusal));
}

/** @param {Entry} entry  that is new, or stands otherwise than before */
function showEntry(entry) {
  const { command, failure } = entry;
  if (isMessage(entry)) log.showUnstored(unstored(entry));
  else log.change(command.target ?? 0);
  if (isMessage(entry) || !failure) return;
  // Nothing of it is left on the page, but for a text that somebody has written.
  outbox.discard(entry.id);
  log.change(command.target ?? 0);
  oversight?.bar.show(rules);
  const written = command.message ?? command.reason;
  notice.tell(failure.message, written ? { label: text('notice.copy'), onClick: () => copy(written) } : undefined);
}

/** @param {Frame} event */
function said(event) {
  const message = /** @type {Message} */ (/** @type {unknown} */ (event));
  people.learn([message]);
  typing.stop(message.user);
  if (message.own) outbox.stored(message.id ?? '');
  unread.arrived(message.seq, message.own);
  const isLive = message.seq > liveAfter;
  notifications?.then((opened) => opened?.arrived(message, isLive));
  if (message.own) composer.holdUntil(rules.nextMessageAt(message.datetime));
}

async function isBehind() {
  const { head, epoch } = await loadMessages(room, { limit: 1 });
  if (String(epoch) !== position?.epoch) return true;
  if (head <= position.seq) return false;
  await new Promise((resolve) => setTimeout(resolve, CATCH_UP_WITHIN));
  return head > position.seq;
}

/**
 * @param {Entry} entry
 * @returns {ShownMessage}
 */
function unstored({ id, command, datetime, failure, dueAt }) {
  return {
    ...reader,
    ...(command.anonymous && { name: text('message.anonymous') }),
    id,
    seq: 0,
    user,
    own: true,
    anonymous: Boolean(command.anonymous),
    datetime,
    message: command.message ?? '',
    html: '',
    reply_to: command.reply_to,
    question: command.question,
    state: failure ? 'failed' : 'pending',
    note: failure ? reason(failure.code) : delay(dueAt),
  };
}

/** @param {number} [dueAt] */
function delay(dueAt = 0) {
  return dueAt - Date.now() > WORTH_A_WORD ? text('message.postponed', { time: timeOf(new Date(dueAt)) }) : '';
}

/** @param {string} failure */
function reason(failure) {
  const key = `failure.${failure}`;
  return text(key) === key ? text('failure.other') : text(key);
}

/** @param {string} id */
function dialog(id) {
  return /** @type {HTMLDialogElement} */ (byId(id));
}

/** @param {string} message */
async function copy(message) {
  if (navigator.clipboard) return navigator.clipboard.writeText(message);
  // There is no clipboard outside of secure contexts.
  const field = document.createElement('textarea');
  field.value = message;
  document.body.append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
}
