import { calendarNow } from '../clock.js';
import { byId } from '../dom.js';
import { excerptOf } from '../excerpt.js';
import { load, loadMessagesAt } from '../history.js';
import { loadMembers } from '../mentions/mentioned.js';
import { replaceMentions } from '../mentions/spans.js';
import * as storage from '../storage.js';
import { text } from '../strings.js';

const FRESH = 5 * 60_000;
/** How long to wait for another window to report that the reader has seen the message there. */
const TOLD_AFTER = 2000;

/** @typedef {'off' | 'on' | 'quiet' | 'blocked' | 'unsupported'} State */
/** @typedef {{id: number | string, seqs: number[]}} Addressed  messages of a room that mention the reader or reply to them */

/**
 * A message that is announced now or soon. The page knows those of its own room; others are loaded when they are announced.
 *
 * @typedef {{room: number | string, seq: number, tag: string, message?: Message, timer?: number, shown?: Notification}} News
 */

/**
 * Shows mentions of the reader and replies to them as notifications of the browser: those in this room while they are looking
 * elsewhere, and those in their other rooms. Only if they turned notifications on and have not paused them.
 */
export class Notifications {
  #line = byId('notifications-state');
  #button = byId('notifications-ask');
  #label = byId('notifications-quiet');
  #quiet = /** @type {HTMLInputElement} */ (this.#label.querySelector('input'));
  /** @type {State} */
  #state = 'off';
  /** Whether the browser has refused to create one, as browsers on phones do. */
  #isRefused = false;
  /** @type {Map<string, News>} by tag */
  #news = new Map();
  /** @type {Set<string>} the tags of messages in other rooms: after a reconnect, the server names them again */
  #known = new Set();
  #telling = Promise.resolve();

  #key;
  #room;
  #user;
  #isOwn;
  #onChoice;

  /**
   * @param {object} how
   * @param {number | string} how.room
   * @param {string} how.user
   * @param {number} how.userId
   * @param {(seq: number) => Promise<boolean>} how.isOwn  whether a message is the reader's
   * @param {(seq: number) => void} how.onChoice  opens the message
   */
  constructor({ room, user, userId, isOwn, onChoice }) {
    this.#key = `notifications:${userId}`;
    this.#room = room;
    this.#user = user;
    this.#isOwn = isOwn;
    this.#onChoice = onChoice;
    this.#quiet.addEventListener('change', () => {
      storage.write(this.#key, this.#quiet.checked ? 'quiet' : 'on');
      this.#show();
    });
    storage.onChangedElsewhere((key) => key === this.#key && this.#show());
    navigator.permissions?.query({ name: 'notifications' }).then(
      (permission) => permission.addEventListener('change', () => this.#show()),
      () => {},
    );
    for (const come of ['focus', 'visibilitychange']) addEventListener(come, () => isHere() && this.read(Infinity), true);
    claimRoom(room);
    this.#show();
  }

  /** The reader wants notifications. The browser asks them for permission, unless they have already decided. */
  async ask() {
    if ('Notification' in window && this.#canMake()) await Notification.requestPermission();
    if (this.#permission === 'granted') storage.write(this.#key, 'on');
    this.#show();
  }

  /**
   * @param {Message} message  has come
   * @param {boolean} isLive  and not part of a replay
   */
  arrived(message, isLive) {
    const { own, datetime, reply_to: target } = message;
    if (own || isHere() || !(this.#reasonOf(message) || target)) return;
    if (!isLive && calendarNow().getTime() - Date.parse(datetime) > FRESH) return;
    this.#wait(this.#room, message.seq, message);
  }

  /**
   * The frame `unread`.
   *
   * @param {{id: number | string, unread: number}[]} rooms  whose counts have changed
   * @param {Addressed[]} addressed  to the reader
   */
  elsewhere(rooms, addressed) {
    for (const { id, unread } of rooms) {
      for (const news of this.#newsOf(id)) {
        if (!unread) this.#forget(news);
        // The announced message may have been deleted.
        else if (news.shown) this.#find(news).then((found) => found || this.#forget(news), () => {});
      }
    }
    for (const { id, seqs } of addressed) {
      for (const seq of seqs) {
        if (this.#known.has(tagOf(id, seq))) continue;
        this.#known.add(tagOf(id, seq));
        this.#wait(id, seq);
      }
    }
  }

  /** @param {number} seq  up to which the reader has read this room, here or in another window */
  read(seq) {
    for (const news of this.#newsOf(this.#room)) if (news.seq <= seq) this.#forget(news);
  }

  /** @param {Frame} event  has changed the text of a message, which may no longer mention the reader */
  edited({ target: seq, message, html, mentions, mentions_all: mentionsAll }) {
    const known = this.#news.get(tagOf(this.#room, seq))?.message;
    if (!known) return;
    this.forget(seq);
    this.arrived({ ...known, message, html, mentions, mentions_all: mentionsAll }, true);
  }

  /** @param {number} seq  of a message in this room that needs no notification any more */
  forget(seq) {
    const news = this.#news.get(tagOf(this.#room, seq));
    if (news) this.#forget(news);
  }

  forgetAll() {
    for (const news of [...this.#news.values()]) this.#forget(news);
  }

  /** @param {News} news */
  #forget(news) {
    clearTimeout(news.timer);
    news.shown?.close();
    if (this.#news.get(news.tag) === news) this.#news.delete(news.tag);
  }

  /** @param {number | string} room */
  #newsOf(room) {
    return [...this.#news.values()].filter((news) => String(news.room) === String(room));
  }

  /**
   * @param {number | string} room
   * @param {number} seq
   * @param {Message} [message]
   */
  #wait(room, seq, message) {
    if (this.#state !== 'on') return;
    /** @type {News} */
    const news = { room, seq, tag: tagOf(room, seq), message };
    // One after the other, so that they come in order.
    news.timer = setTimeout(() => (this.#telling = this.#telling.then(() => this.#tell(news))), TOLD_AFTER);
    this.#news.set(news.tag, news);
  }

  /** @param {News} news */
  async #tell(news) {
    const { room, seq, tag } = news;
    const found = await this.#find(news).catch(() => undefined);
    // By now the reader may have read it, or its author may have deleted or edited it.
    if (this.#news.get(tag) !== news) return;
    if (!found || this.#state !== 'on' || (news.message && isHere())) return this.#forget(news);
    try {
      const shown = new Notification(text(`notifications.${found.reason}`, { name: found.message.name, room: found.title }), {
        body: found.body,
        dir: 'auto',
        // The windows of one browser show it once.
        tag,
      });
      news.shown = shown;
      shown.addEventListener('close', () => this.#forget(news));
      shown.addEventListener('click', () => {
        window.focus();
        this.#forget(news);
        if (news.message) this.#onChoice(seq);
        else location.assign(`/chat/room/${room}/#message-${seq}`);
      });
    } catch {
      this.#isRefused = true;
      this.#show();
    }
  }

  /**
   * @param {News} news
   * @returns {Promise<{message: Message, reason: string, title: string, body: string} | undefined>} undefined if it isn't announced
   * @throws {import('../history.js').ApiRefusal} and what `fetch` throws without a connection
   */
  async #find({ room, seq, message: known }) {
    // A window with that room announces its messages itself.
    if (!known && (await isClaimed(room))) return undefined;
    const message = known ?? (await loadMessagesAt(room, [seq])).messages[0];
    if (!message || message.deleted) return undefined;
    const reason = this.#reasonOf(message) || ((await this.#isReply(room, message)) ? 'reply' : '');
    if (!reason) return undefined;
    const members = message.mentions?.length ? await loadMembers(room, message.mentions).catch(() => []) : [];
    const names = new Map(members.map(({ user, name }) => [user, name]));
    /** @type {MentionNames['name']} */
    const showName = (content) => replaceMentions(content, message, ({ name, user }) => `@${user ? names.get(user) ?? user : name}`);
    const title = known ? document.querySelector('h1')?.textContent ?? '' : await titleOf(room);
    return { message, reason, title, body: excerptOf(message, { mark: () => {}, name: showName }) };
  }

  /** @param {Message} message */
  #reasonOf({ mentions, mentions_all: mentionsAll }) {
    return mentions?.includes(this.#user) ? 'mention' : mentionsAll ? 'mention_all' : '';
  }

  /**
   * @param {number | string} room
   * @param {Message} message
   * @returns {Promise<boolean>} whether it replies to the reader
   */
  async #isReply(room, { reply_to: target }) {
    if (!target) return false;
    if (room === this.#room) return this.#isOwn(target);
    return Boolean((await loadMessagesAt(room, [target])).messages[0]?.own);
  }

  get #permission() {
    return 'Notification' in window ? Notification.permission : 'denied';
  }

  /** Whether a page can create one: browsers on phones throw an error. Without permission, this shows nothing. */
  #canMake() {
    if (this.#permission !== 'default') return true;
    try {
      new Notification('');
    } catch {
      this.#isRefused = true;
    }
    return !this.#isRefused;
  }

  /** @returns {State} */
  #findState() {
    if (!('Notification' in window) || this.#isRefused) return 'unsupported';
    if (this.#permission === 'denied') return 'blocked';
    const wanted = storage.read(this.#key);
    if (!wanted || this.#permission !== 'granted') return 'off';
    return wanted === 'quiet' ? 'quiet' : 'on';
  }

  #show() {
    this.#state = this.#findState();
    const isAllowed = this.#state === 'on' || this.#state === 'quiet';
    this.#line.textContent = text(`notifications.${this.#state}`);
    this.#button.hidden = this.#state !== 'off';
    this.#label.hidden = !isAllowed;
    this.#quiet.checked = this.#state === 'quiet';
    if (this.#state !== 'on') this.forgetAll();
  }
}

/** Whether the reader can see the room. */
function isHere() {
  return !document.hidden && document.hasFocus();
}

/**
 * @param {number | string} room
 * @param {number} seq
 */
function tagOf(room, seq) {
  return `educa-chat:${room}:${seq}`;
}

/** @param {number | string} room */
function lockOf(room) {
  return `educa-chat:notifies:${room}`;
}

/**
 * Lets the other windows of this browser know, for as long as this page is open, that it announces the messages of its room.
 *
 * @param {number | string} room
 */
function claimRoom(room) {
  /** @type {(() => void) | undefined} */
  let release;
  const claim = () => navigator.locks?.request(lockOf(room), { mode: 'shared' }, () => new Promise((resolve) => (release = () => resolve(null))));
  addEventListener('pagehide', () => release?.());
  addEventListener('pageshow', ({ persisted }) => persisted && claim());
  claim();
}

/**
 * @param {number | string} room
 * @returns {Promise<boolean>} whether a page of this browser shows it
 */
async function isClaimed(room) {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  return held.some(({ name }) => name === lockOf(room));
}

/** @param {number | string} room */
async function titleOf(room) {
  const { rooms } = await load('/chat/api/rooms');
  return rooms.find((/** @type {{id: number | string}} */ { id }) => String(id) === String(room))?.title ?? '';
}
