/** The room page: makes its parts and connects them. */

import { Actions } from './actions.js';
import { serverNow, synchronise } from './clock.js';
import { Composer } from './composer.js';
import { Connection } from './connection.js';
import { byId, pageData } from './dom.js';
import { reload } from './embedded.js';
import { EventStream } from './event-stream.js';
import { kindOf, kindOfCommand } from './events/registry.js';
import { loadMessages } from './history.js';
import { HistoryWindow } from './history-window.js';
import { LogView } from './log/log-view.js';
import { MessageMenu } from './message-menu.js';
import { Names } from './names.js';
import { Outgoing } from './outgoing.js';
import { Part } from './part.js';
import { People } from './people.js';
import { ReactionPicker } from './reactions/picker.js';
import { RecentEvents } from './recent-events.js';
import { RoomRules } from './room-rules.js';
import { endSession } from './session-end.js';
import { Status } from './status.js';
import * as storage from './storage.js';
import { text } from './strings.js';
import { Toast } from './toast.js';
import { TypingLine, typingReporter } from './typing.js';
import { Unread } from './unread.js';
import { followViewport } from './viewport.js';

const PAGE_SIZE = 50;
const CATCH_UP_WITHIN_MS = 2000;

/** @type {number | string} */
const room = pageData('course-id');
/** @type {string} */
const user = pageData('request-user');
/** @type {{id: number, name: string, role: Role}} */
const reader = pageData('reader');
/** The reader as the author of messages that are not stored yet. */
let author = { name: reader.name, role: reader.role };
// A username may be given to somebody else.
const storageKey = `${reader.id}:${room}`;

const [navigation] = /** @type {PerformanceNavigationTiming[]} */ (performance.getEntriesByType('navigation'));
synchronise(pageData('now'), navigation ? performance.now() - navigation.responseStart : 0);

/** Whether the server has said what is unread in the other rooms. */
let knowsUnread = false;
/** Whether the session has ended, so that the page no longer shows the room. */
let hasEnded = false;

const status = new Status(signInUrl());
const toast = new Toast();
const names = new Names(showNames);
const people = new People(user, names);
const typing = new TypingLine();
const picker = new ReactionPicker();
const recent = new RecentEvents();
const stream = new EventStream(user);

const originals = new Part({
  module: () => import('./originals/originals.js'),
  make: ({ Originals }) => new Originals({ room, recent, onKnown: (seqs) => log.renderRepliesTo(seqs) }),
  onFailure: partFailed,
});

const mentioned = new Part({
  module: () => import('./mentions/mentioned.js'),
  make: ({ Mentioned }) => new Mentioned({ room, reader: user, names }),
  onFailure: partFailed,
});

/** @type {MentionNames} */
const mentions = {
  mark: (body, message) => mentioned.get().then((opened) => opened?.mark(body, message)),
  name: (content, message) => {
    if (mentioned.opened) mentioned.opened.name(content, message);
    // Only messages with mentions need that module.
    else if (message.mentions?.length) mentioned.get().then((opened) => opened && showNames());
  },
};

/** @type {LogView} */
const log = new LogView({
  user,
  names,
  mentions,
  textOf: (event) => kindOf(event)?.systemMessage?.(event, { user, nameOf: (one) => names.of(one) }) ?? '',
  isReported: (seq) => reports.opened?.has(seq) ?? false,
  optimistic: (message) => outgoing.optimistic(message),
  originals: { of: originalOf, learn: (message) => originals.opened?.learn(message) },
  onTop: () => historyWindow.loadOlder(),
  onEnd: () => historyWindow.loadNewer(),
  onNewest: () => historyWindow.toNewest(),
  onBottom: () => unread.look(),
  onAction: (name, message, button) => (buttons[name] ? buttons[name](message, button) : actions.run(name, message, button)),
});

const historyWindow = new HistoryWindow({
  room,
  log,
  recent,
  originals,
  epoch: () => stream.epoch,
  onMessages: (messages) => {
    names.learn(messages);
    outgoing.stored(messages);
  },
  onNewest: () => {
    outgoing.showPending();
    showRules();
  },
  onFailure: (reason) => toast.show(text(reason)),
});

const connection = new Connection({
  prepare,
  url: socketUrl,
  onFrame: receive,
  onState: (state, failures) => {
    status.show(state, failures);
    outgoing.setConnected(state === 'connected');
    if (state === 'connected' || state === 'not-member') composer.open(state === 'connected');
    if (state === 'signed-out' || state === 'other-user') end(state === 'signed-out');
  },
  isBehind,
});

/** @type {Outgoing} */
const outgoing = new Outgoing({
  storageKey,
  user,
  author: () => author,
  log,
  toast,
  send: (frame) => connection.send(frame),
  onOverdue: () => connection.reconnect(),
  onAccepted: (command, seq) => kindOfCommand(command)?.accepted?.(page, command, seq),
  onFailed: () => classPanel.opened?.showRules(),
  onStaleEdit: (target, written) => {
    const message = log.messageAt(target);
    return message !== undefined && composer.resume(message, written);
  },
  onHeldUp: (isHeldUp) => status.holdUp(isHeldUp),
});

const unread = new Unread({
  log,
  newest: () => stream.seq,
  report: (seq) => connection.send({ type: 'read', seq }),
});

const composer = new Composer({
  storageKey,
  mentions,
  onMessage: (message) => {
    outgoing.add({ type: 'message', ...message });
    historyWindow.showNewest();
  },
  onEdit: (target, message, asOf) => outgoing.add({ type: 'edit', target, message, as_of: asOf }),
  onEditOpen: (discard) => toast.show(text('composer.edit_open'), { label: text('composer.discard'), onClick: discard }),
  onEditLast: () => {
    const last = log.lastOwn;
    if (last && actions.isOffered('edit', last)) actions.run('edit', last, log.element);
  },
  onTyping: typingReporter(() => connection.send({ type: 'typing' })),
});

const rules = new RoomRules(author.role !== 'student', showRules);

// Parts that are loaded when they are needed.

const pins = new Part({
  module: () => import('./pins/pins.js'),
  make: ({ Pins }) => new Pins({ find: findMessage, mentions, onShow: (seq) => historyWindow.show(seq) }),
  onFailure: partFailed,
});

const rooms = new Part({
  module: () => import('./rooms.js'),
  make: ({ Rooms }) => new Rooms(() => connection.send({ type: 'read_all' })),
  onFailure: partFailed,
});

const questions = new Part({
  module: () => import('./questions/count.js'),
  make: ({ QuestionsCount }) => new QuestionsCount(room),
  onFailure: partFailed,
});

const search = new Part({
  module: () => import('./search/search.js'),
  strings: 'search',
  make: ({ Search }) => new Search({ room, recent, mentions, onChoice: (seq) => historyWindow.show(seq) }),
  onFailure: partFailed,
});

const completion = new Part({
  module: () => import('./mentions/completion.js'),
  strings: 'mention',
  make: ({ Completion }) => new Completion({ room, user, mayMentionAll: () => rules.isInstructor }),
  onFailure: partFailed,
});

const notifications = new Part({
  module: () => import('./notifications/notifications.js'),
  strings: 'notifications',
  make: ({ Notifications }) =>
    new Notifications({
      room,
      user,
      userId: reader.id,
      isOwn: async (seq) => Boolean((await findMessage(seq))?.own),
      onChoice: (seq) => historyWindow.show(seq),
    }),
  onFailure: partFailed,
});

const members = new Part({
  module: () => import('./members/members.js'),
  strings: 'members',
  make: ({ Members }) => new Members({ room, reader: user, names }),
  onFailure: partFailed,
});

const classPanel = new Part({
  module: () => import('./class/class-panel.js'),
  make: ({ ClassPanel }) => new ClassPanel(rules, (command) => outgoing.add(command)),
  onFailure: partFailed,
});

const muted = new Part({
  module: () => import('./class/muted.js'),
  strings: 'class',
  make: ({ Muted }) =>
    new Muted({
      room,
      onKnown: (students) => names.learn(students),
      onLift: (student) => outgoing.add({ type: 'mute', user: student, minutes: 0 }),
    }),
  onFailure: partFailed,
});

const reports = new Part({
  module: () => import('./class/reports.js'),
  strings: 'class',
  make: ({ Reports }) => new Reports({ room, onChange: (seqs) => [...seqs].forEach((seq) => log.change(seq)) }),
  onFailure: partFailed,
});

/** @type {RoomPage} */
const page = {
  user,
  names,
  log,
  pins,
  typing,
  unread,
  rules,
  composer,
  outgoing,
  toast,
  picker,
  notifications,
  muted,
  reports,
  find: findMessage,
  isLive: (seq) => stream.isLive(seq),
};

const permissions = {
  get isInstructor() {
    return rules.isInstructor;
  },
  get isArchived() {
    return rules.isArchived;
  },
  get mayWrite() {
    return rules.mayWrite;
  },
  isOwn: (/** @type {number} */ seq) => Boolean((log.messageAt(seq) ?? originalOf(seq))?.own),
};
const actions = new Actions(permissions, page);
const menu = new MessageMenu(actions, {
  messageOf: (element) => log.messageOf(element),
  onAction: (name, message, anchor) => actions.run(name, message, anchor),
});

/**
 * The buttons in a message that aren't actions of its menu.
 *
 * @type {Record<string, ((message: ShownMessage, button: HTMLElement) => unknown) | undefined>}
 */
const buttons = {
  retry: ({ id = '' }) => outgoing.retry(id),
  discard: ({ id = '' }) => outgoing.discard(id),
  show: (_, { dataset }) => historyWindow.show(Number(dataset.value)),
  more: (message, button) => menu.open(message, button),
};

/**
 * Frames that aren't events, although some have a seq.
 *
 * @type {Record<string, ((signal: Frame) => unknown) | undefined>}
 */
const signals = {
  welcome,
  reset: () => {
    stream.forget();
    connection.reconnect();
  },
  ack: (ack) => outgoing.acknowledged(ack, ack.seq <= stream.seq) && stream.markSent(/** @type {any} */ (ack)),
  error: (refusal) => {
    if (refusal.code === 'slow_mode') composer.holdUntil(serverNow() + (refusal.retry_after ?? 0) * 1000);
    outgoing.refused(/** @type {any} */ (refusal));
  },
  room: ({ title, archived }) => {
    /** @type {HTMLElement} */ (document.querySelector('h1')).textContent = title;
    rules.change({ isArchived: archived });
  },
  own: ({ seq }) => stream.markOwn(seq),
  presence: (signal) => {
    people.show(signal);
    members.whenOpened((opened) => opened.showPresence(signal));
  },
  typing: (signal) => signal.user !== user && typing.show(signal),
  unread: ({ rooms: changed, addressed = [] }) => {
    rooms.whenOpened((opened) => opened.change(changed));
    // Messages from before this page was opened aren't news.
    const fresh = knowsUnread ? addressed : [];
    knowsUnread = true;
    notifications.whenOpened((opened) => opened.elsewhere(changed, fresh));
  },
  read: ({ seq }) => {
    unread.moved(seq);
    notifications.whenOpened((opened) => opened.read(seq));
  },
};

// The address differs if the page was posted to keep a text, and a reload must not post it again.
history.replaceState(history.state, '', `${location.pathname.replace(/reload\/$/, '')}${location.search}${location.hash}`);
if (document.querySelector('[data-room]')) rooms.get();
connectButtons();
addEventListener('hashchange', showLinked);
followViewport();
composer.limitTo(pageData('limits').message_length);
outgoing.restore();
connection.connect();

/** Connects the buttons that open the parts. */
function connectButtons() {
  const searchButton = byId('search-button');
  search.prefetchFor(searchButton);
  searchButton.addEventListener('click', () => search.open((opened) => opened.toggle()));

  const notificationsButton = byId('notifications-ask');
  notifications.prefetchFor(notificationsButton);
  notificationsButton.addEventListener('click', () => notifications.open((opened) => opened.ask()));
  if (storage.read(`notifications:${reader.id}`)) notifications.open(() => {});

  const membersButton = byId('members-button');
  members.prefetchFor(membersButton);
  membersButton.addEventListener('click', () => members.open((opened) => opened.focus()));

  const field = /** @type {HTMLTextAreaElement} */ (byId('chat-message-input'));
  field.addEventListener('input', () => {
    if (!completion.isWanted && field.value.includes('@')) completion.open((opened) => opened.look());
  });

  if (reader.role === 'instructor') {
    classPanel.prefetchFor(byId('class-button'));
    byId('class-bar').addEventListener('toggle', () => classPanel.open(() => {}));
  }
  if (reader.role !== 'student') {
    members.prefetchFor(byId('people-button'));
    byId('people').addEventListener('toggle', () => members.open(() => {}), { once: true });
    muted.prefetchFor(byId('moderation-button'));
    byId('moderation').addEventListener('toggle', () => muted.open((opened) => opened.load()));
  }
  // Before this, a click would have been lost.
  for (const id of ['search-button', 'unanswered']) byId(id).removeAttribute('disabled');
}

/**
 * @param {number} seq
 * @returns {ShownMessage | undefined} a message that replies refer to; if it is not known yet, it is loaded and then shown
 */
function originalOf(seq) {
  if (!originals.opened) originals.get().then((opened) => opened && log.renderRepliesTo([seq]));
  return originals.opened?.of(seq);
}

/** Shows names that have become known. */
function showNames() {
  log.renderNames();
  pins.whenOpened((opened) => opened.show());
  search.whenOpened((opened) => opened.renderNames());
}

/** @param {number} seq */
async function findMessage(seq) {
  return log.messageAt(seq) ?? (await originals.get())?.find(seq);
}

/** @param {() => void} retry */
function partFailed(retry) {
  toast.show(text('part.failed'), { label: text('message.retry'), onClick: retry });
}

/** @param {boolean} asksApi  even if there is nothing to load */
async function prepare(asksApi) {
  if (!stream.hasBegun) begin(await loadMessages(room, { limit: PAGE_SIZE }));
  else if (asksApi) await loadMessages(room, { limit: 1 });
  // Somebody has signed in again, and may be another user.
  if (hasEnded) await new Promise(reload);
}

/** @param {Page} newest  the newest messages, if no history is known yet */
function begin(newest) {
  unread.startOver();
  recent.forget();
  search.whenOpened((opened) => opened.forget());
  originals.whenOpened((opened) => opened.forget());
  stream.begin(newest);
  historyWindow.begin(newest);
}

/** @param {boolean} isForUser  whether the page may still show what the user wrote */
function end(isForUser) {
  if (hasEnded) return;
  hasEnded = true;
  unread.startOver();
  notifications.whenOpened((opened) => opened.forgetAll());
  endSession({ storageKey, signInUrl: signInUrl(), isForUser });
}

/** Scrolls to the message that a link to this page names. */
function showLinked() {
  const seq = location.hash.match(/^#message-(\d{1,16})$/)?.[1];
  if (!seq) return;
  // After a reload, return to the previous position.
  history.replaceState(history.state, '', location.pathname + location.search);
  historyWindow.show(Number(seq));
}

function showRules() {
  composer.close(rules.reason);
  document.body.classList.toggle('archived', rules.isArchived);
  if (rules.anonymity !== null) composer.allowAnonymity(rules.anonymity && !rules.isInstructor);
  composer.holdUntil(rules.nextMessageAt(log.lastOwn?.datetime));
  classPanel.opened?.showRules();
}

/** @param {Frame} frame */
function receive(frame) {
  const signal = signals[frame.type];
  if (signal) return signal(frame);
  const event = frame.seq ? stream.next(frame) : null;
  if (!event) return;
  const kind = kindOf(event);
  historyWindow.take(event);
  if (event.question || kind?.makesQuestions || kind?.changesAnswers) questions.get().then((opened) => opened?.update());
  search.whenOpened((opened) => opened.apply(event));
  kind?.receive?.(event, page);
  if (kind?.systemMessage) log.appendSystemMessage(event);
  unread.look();
}

/** @param {Frame} frame */
function welcome(frame) {
  const { me, limits, state } = frame;
  // Another user has signed in with this browser. The messages that wait here are not theirs.
  if (me.id !== reader.id) return connection.stop('other-user');
  // Pages for other roles have other elements, and this page relies on the username.
  if (me.role !== reader.role || me.user !== user) return reload();
  synchronise(frame.datetime);
  author = { name: me.name, role: me.role };
  composer.limitTo(limits.message_length);
  rules.begin(frame);
  const pinned = state.pinned ?? [];
  if (pinned.length) pins.open((opened) => opened.replace(pinned));
  else pins.whenOpened((opened) => opened.replace([]));
  connection.welcomed();
  unread.welcomed(state.read);
  if (rules.isInstructor) {
    byId('moderation-button').hidden = false;
    if (reader.role === 'instructor') byId('class-button').hidden = false;
    reports.open((opened) => opened.begin(state.reports ?? 0));
  }
  showLinked();
  stream.goLive(frame.head);
}

function signInUrl() {
  const url = new URL(pageData('sign-in-url'), location.href);
  url.searchParams.set('next', location.pathname);
  return url.href;
}

function socketUrl() {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  return `${scheme}://${location.host}/ws/chat/room/${room}/?${stream.query()}&unread=1`;
}

/** @returns {Promise<boolean>} whether the API knows of events that the socket has not delivered */
async function isBehind() {
  const { head, epoch } = await loadMessages(room, { limit: 1 });
  if (String(epoch) !== stream.epoch) return true;
  if (head <= stream.seq) return false;
  await new Promise((resolve) => setTimeout(resolve, CATCH_UP_WITHIN_MS));
  return head > stream.seq;
}
