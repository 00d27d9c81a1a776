/** The room page: what the server says goes into the log, what the reader says into the outbox. */

/** @import { Command, Frame, Page } from './protocol.js' */
/** @import { Entry } from './outbox.js' */
/** @import { ShownMessage } from './message-view.js' */

import { Actions, isEditable } from './actions.js';
import { ClassBar } from './class-bar.js';
import { Composer } from './composer.js';
import { Connection } from './connection.js';
import { timeOf } from './dates.js';
import { loadMessage, loadMessages } from './history.js';
import { LogView } from './log-view.js';
import { CHANGING, changed, expected } from './message-state.js';
import { Notice } from './notice.js';
import { Outbox, isMessage } from './outbox.js';
import { byId, pageData } from './page-data.js';
import { People } from './people.js';
import { Pins } from './pins.js';
import { ask } from './popover.js';
import { ReactionPicker } from './reactions.js';
import { RoomRules } from './room-rules.js';
import { Status } from './status.js';
import { text } from './strings.js';
import { TypingLine, typingTeller } from './typing.js';
import { Unread } from './unread.js';
import { followViewport } from './viewport.js';

const PAGE = 50;
const LARGEST_PAGE = 200;
const FARTHEST_PAGES = 25;
const CATCH_UP_WITHIN = 2000;
const WORTH_A_WORD = 10_000;

/** @type {number | string} */
const room = pageData('course-id');
/** @type {string} */
const user = pageData('request-user');
/** @type {{name: string, role: 'student' | 'instructor'}} */
let reader = pageData('reader');
const place = `${user}:${room}`;

/** @type {{seq: number, datetime?: string, epoch: string} | null} up to where the log is shown; null: nothing yet */
let position = null;

const status = new Status(signInUrl());
const notice = new Notice();
const people = new People(user, () => log.renameReaders());
const typing = new TypingLine();
const picker = new ReactionPicker();
const unanswered = byId('unanswered');

/**
 * What a button in a message does, or an item of its menu.
 *
 * @type {Record<string, (message: ShownMessage, button: HTMLElement) => unknown>}
 */
const acts = {
  retry: ({ id }) => outbox.retry(id),
  discard: ({ id }) => outbox.discard(id),
  copy: ({ message }) => copy(message),
  show: (_, { dataset }) => show(Number(dataset.value)),
  more: (message, button) => actions.open(message, button),
  reply: (message) => composer.reply(message),
  react: (message, button) => {
    if (button.dataset.value) react(message, button.dataset.value);
    else picker.open(button, (emoji) => react(message, emoji));
  },
  edit: (message) => composer.edit(message),
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
  expected: (message) => outbox.commandsOn(message.seq).reduce((now, command) => expected(now, command, user), message),
  // A short list of questions is no reason to load everything that was ever said.
  onTop: () => showsUnanswered() || loadOlder(),
  onBottom: () => unread.look(),
  onAction: (action, message, button) => acts[action](message, button),
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
  },
  isBehind,
});

const outbox = new Outbox(place, {
  send: (frame) => connection.send(frame),
  onOverdue: () => connection.reconnect(),
  onChange: showEntry,
  onGone: (id) => log.removeUnstored(id),
});

const unread = new Unread({
  log,
  newest: () => position?.seq ?? 0,
  tell: (seq) => connection.send({ type: 'read', seq }),
});

const composer = new Composer({
  place,
  onMessage: (said) => {
    showUnanswered(false);
    outbox.add({ type: 'message', ...said });
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
const classBar = new ClassBar((command) => outbox.add(command));

const who = {
  user,
  get isInstructor() {
    return rules.isInstructor;
  },
  get mayWrite() {
    return rules.mayWrite;
  },
  authorOf: (/** @type {number} */ seq) => log.messageAt(seq)?.user,
};

const actions = new Actions({
  who,
  messageOf: (element) => log.messageOf(element),
  onAction: (action, message, anchor) => acts[action](message, anchor),
});

const pins = new Pins({
  find: async (seq) => log.messageAt(seq) ?? loadMessage(room, seq),
  onShow: show,
});

/** @type {Record<string, ((event: Frame) => void) | undefined>} */
const events = {
  chat_message: said,
  ...Object.fromEntries(CHANGING.map((type) => [type, change])),
  closed: ruled,
  slowed: ruled,
  muted: ruled,
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
  presence: (signal) => people.show(signal),
  typing: (signal) => signal.user !== user && typing.show(signal),
  read: ({ seq }) => unread.moved(seq),
};

unanswered.addEventListener('click', () => showUnanswered(!showsUnanswered()));
followViewport();
composer.limitTo(pageData('limits').message_length);
outbox.restore();
showUnstored();
connection.connect();

/** @param {boolean} ask */
async function prepare(ask) {
  if (!position) showNewest(await loadMessages(room, { limit: PAGE }));
  else if (ask) await loadMessages(room, { limit: 1 });
}

/** @param {Page} page */
function showNewest({ messages, head, epoch, more }) {
  for (const message of messages) {
    if (message.user === user) outbox.stored(message.id);
  }
  unread.startOver();
  people.learn(messages);
  log.replace(messages);
  showUnstored();
  showRules();
  if (more) log.watchTop();
  else log.showBeginning();
  const last = messages.at(-1);
  position = { seq: head, epoch: String(epoch), datetime: last?.seq === head ? last.datetime : undefined };
}

function showUnstored() {
  for (const entry of outbox.entries()) {
    if (isMessage(entry)) log.showUnstored(shown(entry));
  }
}

/** @returns {Promise<boolean>} whether there may be more now than there was */
async function loadOlder(limit = PAGE) {
  const before = log.oldest;
  const epoch = position?.epoch;
  const page = await loadMessages(room, { limit, before }).catch(() => null);
  // Meanwhile the log may have been replaced, by another part or another history.
  if (log.oldest !== before || position?.epoch !== epoch) return true;
  if (!page) {
    log.showOlderFailed();
    return false;
  }
  people.learn(page.messages);
  log.prepend(page.messages);
  if (page.more) log.watchTop();
  else log.showBeginning();
  return page.messages.length > 0;
}

/**
 * Leads to a message, over those between it and what is shown.
 *
 * @param {number} seq
 */
async function show(seq) {
  showUnanswered(false);
  for (let pages = 0; !log.show(seq); pages += 1) {
    const isFarther = log.oldest > seq && pages < FARTHEST_PAGES && (await loadOlder(LARGEST_PAGE));
    if (!isFarther) return notice.tell(text('log.not_found'));
  }
}

function showsUnanswered() {
  return unanswered.ariaPressed === 'true';
}

/** @param {boolean} isOn */
function showUnanswered(isOn) {
  if (showsUnanswered() === isOn) return;
  unanswered.ariaPressed = String(isOn);
  log.showUnanswered(isOn);
  if (!isOn && byId('beginning').hidden) log.watchTop();
}

/**
 * @param {ShownMessage} message
 * @param {string} emoji
 */
function react(message, emoji) {
  const now = outbox.commandsOn(message.seq).reduce((state, command) => expected(state, command, user), message);
  const isOn = now.reactions?.some((one) => one.emoji === emoji && one.users.includes(user));
  outbox.add({ type: 'react', target: message.seq, emoji, on: !isOn });
}

/** @param {Frame} event */
function change(event) {
  log.change(event.target, (message) => changed(message, event));
  pins.apply(event);
}

/** @param {Frame} event */
function ruled(event) {
  log.remark(rules.apply(event));
}

function showRules() {
  composer.close(rules.reason);
  composer.holdUntil(rules.nextMessageAt(log.lastOwn?.datetime));
  classBar.show(rules);
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
  events[event.type]?.(event);
  unread.look();
}

/** @param {Frame} frame */
function welcome(frame) {
  const { me, limits, state } = frame;
  // Someone else has signed in with this browser: what waits here is not theirs to say.
  if (me.user !== user) return connection.stop('other-user');
  reader = { name: me.name, role: me.role };
  composer.limitTo(limits.message_length);
  rules.begin(frame);
  pins.replace(state.pinned ?? []);
  connection.welcomed();
  unread.welcomed(state.read);
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
  // The event itself comes next, unless it has been here already.
  const isHere = seq <= position.seq;
  if (!isMessage(entry)) {
    if (isHere) log.change(entry.command.target ?? 0);
  } else if (isHere) log.removeUnstored(id);
  else log.showUnstored({ ...shown(entry), datetime, state: undefined });
}

/** @param {Frame} refusal */
function refused(refusal) {
  if (refusal.code === 'slow_mode') composer.holdUntil(Date.now() + (refusal.retry_after ?? 0) * 1000);
  outbox.refused(/** @type {any} */ (refusal));
}

/** @param {Entry} entry  that is new, or stands otherwise than before */
function showEntry(entry) {
  const { command, failure } = entry;
  if (isMessage(entry)) log.showUnstored(shown(entry));
  else log.change(command.target ?? 0);
  if (isMessage(entry) || !failure) return;
  // Nothing of it is left on the page, but for a text that somebody has written.
  outbox.discard(entry.id);
  log.change(command.target ?? 0);
  classBar.show(rules);
  const written = command.message;
  notice.tell(failure.message, written ? { label: text('notice.copy'), onClick: () => copy(written) } : undefined);
}

/** @param {Frame} message */
function said(message) {
  people.learn([/** @type {any} */ (message)]);
  typing.stop(message.user);
  if (message.user === user) outbox.stored(message.id);
  log.append(/** @type {any} */ (message));
  unread.arrived(message.seq, message.user === user);
  if (message.user === user) composer.holdUntil(rules.nextMessageAt(message.datetime));
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
function shown({ id, command, datetime, failure, dueAt }) {
  return {
    ...reader,
    id,
    seq: 0,
    user,
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
