/** The room page: what the server says goes into the log, what the reader says into the outbox. */

/** @import { Frame, Page } from './protocol.js' */
/** @import { Entry } from './outbox.js' */
/** @import { ShownMessage } from './message-view.js' */

import { Composer } from './composer.js';
import { Connection } from './connection.js';
import { timeOf } from './dates.js';
import { loadMessages } from './history.js';
import { LogView } from './log-view.js';
import { Outbox } from './outbox.js';
import { pageData } from './page-data.js';
import { Status } from './status.js';
import { text } from './strings.js';
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
const place = `${user}:${room}`;

/** @type {{seq: number, datetime?: string, epoch: string} | null} up to where the log is shown; null: nothing yet */
let position = null;

const status = new Status(signInUrl());

const log = new LogView({
  user,
  onTop: loadOlder,
  onBottom: () => unread.look(),
  onAction: (action, id) => {
    if (action === 'retry') outbox.retry(id);
    else if (action === 'discard') outbox.discard(id);
    else copy(outbox.messageOf(id));
  },
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
  onChange: (entry) => log.showUnstored(shown(entry)),
  onGone: (id) => log.removeUnstored(id),
});

const unread = new Unread({
  log,
  newest: () => position?.seq ?? 0,
  tell: (seq) => connection.send({ type: 'read', seq }),
});

const composer = new Composer({ place, onMessage: (message) => outbox.add(message) });

/** @type {Record<string, ((event: Frame) => void) | undefined>} */
const events = {
  chat_message: said,
  edited: ({ target, message, html }) => log.change(target, { message, html, edited: true }),
  deleted: ({ target }) => log.change(target, { message: '', html: '', deleted: true }),
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
  error: (refusal) => outbox.refused(/** @type {any} */ (refusal)),
  presence: () => {},
  typing: () => {},
  read: ({ seq }) => unread.moved(seq),
};

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
  log.replace(messages);
  showUnstored();
  if (more) log.watchTop();
  else log.showBeginning();
  const last = messages.at(-1);
  position = { seq: head, epoch: String(epoch), datetime: last?.seq === head ? last.datetime : undefined };
}

function showUnstored() {
  for (const entry of outbox.entries()) log.showUnstored(shown(entry));
}

async function loadOlder() {
  const before = log.oldest;
  const epoch = position?.epoch;
  const page = await loadMessages(room, { limit: PAGE, before }).catch(() => null);
  // Meanwhile the log may have been replaced, by another part or another history.
  if (log.oldest !== before || position?.epoch !== epoch) return;
  if (!page) return log.showOlderFailed();
  log.prepend(page.messages);
  if (page.more) log.watchTop();
  else log.showBeginning();
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

/** @param {Frame} welcome */
function welcome({ me, limits, state }) {
  // Someone else has signed in with this browser: what waits here is not theirs to say.
  if (me.user !== user) return connection.stop('other-user');
  reader = { name: me.name, role: me.role };
  composer.limitTo(limits.message_length);
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
  if (seq <= position.seq) log.removeUnstored(id);
  else log.showUnstored({ ...shown(entry), datetime, state: undefined });
}

/** @param {Frame} message */
function said(message) {
  if (message.user === user) outbox.stored(message.id);
  log.append(/** @type {any} */ (message));
  unread.arrived(message.seq, message.user === user);
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
function shown({ id, message, datetime, failure, dueAt }) {
  return {
    ...reader,
    id,
    seq: 0,
    user,
    datetime,
    message,
    html: '',
    state: failure ? 'failed' : 'pending',
    note: failure ? reason(failure) : delay(dueAt),
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
