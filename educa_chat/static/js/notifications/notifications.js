import { calendarNow } from '../clock.js';
import { byId } from '../dom.js';
import { excerptOf } from '../excerpt.js';
import * as storage from '../storage.js';
import { text } from '../strings.js';

const FRESH = 5 * 60_000;
/** How long to wait for another window to report that the reader has seen the message there. */
const TOLD_AFTER = 2000;

/** @typedef {'off' | 'on' | 'quiet' | 'blocked' | 'unsupported'} State */

/**
 * Shows mentions of the reader and replies to them as notifications of the browser, while they are looking elsewhere.
 * Only if they turned notifications on and have not paused them.
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
  /** @type {Map<number, number>} the timers of what is to be told, by seq */
  #waiting = new Map();
  /** @type {Map<number, Message>} the messages that are announced now or soon */
  #messages = new Map();
  /** @type {Map<number, Notification>} */
  #shown = new Map();

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
   * @param {(seq: number) => void} how.onChoice  leads to the message
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
   * @param {boolean} isLive  and not in a resume
   */
  arrived(message, isLive) {
    const { seq, own, datetime } = message;
    const reason = this.#reasonOf(message);
    if (this.#state !== 'on' || !reason || own || isHere()) return;
    if (!isLive && calendarNow().getTime() - Date.parse(datetime) > FRESH) return;
    this.#messages.set(seq, message);
    this.#waiting.set(seq, setTimeout(() => this.#tell(message, reason), TOLD_AFTER));
  }

  /** @param {number} seq  up to which the reader has read, here or in another window */
  read(seq) {
    for (const known of [...this.#waiting.keys(), ...this.#shown.keys()]) if (known <= seq) this.forget(known);
  }

  /** @param {Frame} event  has given a message another text, and perhaps no mention of the reader any more */
  edited({ target: seq, message, html, mentions, mentions_all: mentionsAll }) {
    const known = this.#messages.get(seq);
    if (!known) return;
    const edited = { ...known, message, html, mentions, mentions_all: mentionsAll };
    this.forget(seq);
    this.arrived(edited, true);
  }

  /** @param {Message} message */
  #reasonOf({ mentions, mentions_all: mentionsAll, reply_to: target }) {
    return mentions?.includes(this.#user) ? 'mention' : mentionsAll ? 'mention_all' : target ? 'reply' : '';
  }

  /** @param {number} seq  of a message that needs no notification any more */
  forget(seq) {
    clearTimeout(this.#waiting.get(seq));
    this.#waiting.delete(seq);
    this.#shown.get(seq)?.close();
    this.#shown.delete(seq);
    this.#messages.delete(seq);
  }

  /**
   * @param {Message} message
   * @param {string} reason
   */
  async #tell(message, reason) {
    const { seq, name, reply_to: target } = message;
    const isForReader = reason !== 'reply' || (await this.#isOwn(target ?? 0).catch(() => false));
    // By now the reader may have read it, or its author may have deleted it.
    if (!this.#waiting.delete(seq) || !isForReader || this.#state !== 'on' || isHere()) return;
    const room = document.querySelector('h1')?.textContent ?? '';
    try {
      const shown = new Notification(text(`notifications.${reason}`, { name, room }), {
        body: excerptOf(message),
        dir: 'auto',
        // The windows of one browser show it once.
        tag: `educa-chat:${this.#room}:${seq}`,
      });
      this.#shown.set(seq, shown);
      shown.addEventListener('close', () => this.#shown.delete(seq));
      shown.addEventListener('click', () => {
        window.focus();
        this.forget(seq);
        this.#onChoice(seq);
      });
    } catch {
      this.#isRefused = true;
      this.#show();
    }
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
  #find() {
    if (!('Notification' in window) || this.#isRefused) return 'unsupported';
    if (this.#permission === 'denied') return 'blocked';
    const wanted = storage.read(this.#key);
    if (!wanted || this.#permission !== 'granted') return 'off';
    return wanted === 'quiet' ? 'quiet' : 'on';
  }

  #show() {
    this.#state = this.#find();
    const isAllowed = this.#state === 'on' || this.#state === 'quiet';
    this.#line.textContent = text(`notifications.${this.#state}`);
    this.#button.hidden = this.#state !== 'off';
    this.#label.hidden = !isAllowed;
    this.#quiet.checked = this.#state === 'quiet';
    if (this.#state !== 'on') this.read(Infinity);
  }
}

/** Whether the reader can see the room. */
function isHere() {
  return !document.hidden && document.hasFocus();
}
