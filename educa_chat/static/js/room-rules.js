/** @import { Frame } from './protocol.js' */

import { durationOf, momentOf } from './dates.js';
import { text } from './strings.js';

const LONGEST_TIMER = 2 ** 31 - 1;

/** Who may write in the room, how often, and until when not. */
export class RoomRules {
  isInstructor = false;
  isClosed = false;
  slowSeconds = 0;
  /** @type {boolean | null} whether students may be anonymous to each other; null: not known yet */
  anonymity = null;
  /** @type {string | null} */
  mutedUntil = null;

  /** @type {number | undefined} until the reader may write again */
  #timer;
  #user;
  #nameOf;
  #onChange;

  /**
   * @param {object} ways
   * @param {string} ways.user
   * @param {boolean} ways.isInstructor
   * @param {(user: string) => string} ways.nameOf
   * @param {() => void} ways.onChange
   */
  constructor({ user, isInstructor, nameOf, onChange }) {
    this.#user = user;
    this.isInstructor = isInstructor;
    this.#nameOf = nameOf;
    this.#onChange = onChange;
  }

  /** @param {Frame} welcome */
  begin({ me, limits, state }) {
    this.isInstructor = me.role === 'instructor';
    this.isClosed = Boolean(state.closed);
    this.anonymity = Boolean(state.anonymity);
    this.slowSeconds = limits.slow_seconds ?? 0;
    this.mutedUntil = limits.muted_until ?? null;
    this.#changed();
  }

  /** @param {Frame} event  `closed`, `slowed`, `anonymity` or `muted` */
  apply(event) {
    if (event.type === 'closed') this.isClosed = event.on;
    else if (event.type === 'slowed') this.slowSeconds = event.seconds;
    else if (event.type === 'anonymity') this.anonymity = event.on;
    else if (this.#isAboutReader(event)) this.mutedUntil = event.until;
    this.#changed();
  }

  /**
   * @param {Frame} event  `closed`, `slowed`, `anonymity` or `muted`, be it of long ago
   * @returns {string} a word on it to who is in the room
   */
  wordsOn(event) {
    if (event.type === 'closed') return text(event.on ? 'rule.closed' : 'rule.open');
    if (event.type === 'slowed') {
      return event.seconds ? text('rule.slow', { time: durationOf(event.seconds) }) : text('rule.not_slow');
    }
    if (event.type === 'anonymity') return text(event.on ? 'rule.anonymity' : 'rule.no_anonymity');
    const time = event.until ? momentOf(event.until) : '';
    if (this.#isAboutReader(event)) return text(time ? 'rule.muted_you' : 'rule.unmuted_you', { time });
    return text(time ? 'rule.muted' : 'rule.unmuted', { name: this.#nameOf(event.target_user), time });
  }

  /** Why the reader may not write now; '' when she may. */
  get reason() {
    if (this.isInstructor) return '';
    if (this.#isMuted) return text('rule.muted_you', { time: momentOf(this.mutedUntil ?? '') });
    return this.isClosed ? text('rule.closed') : '';
  }

  get mayWrite() {
    return !this.reason;
  }

  /**
   * @param {string | undefined} said  when the reader's last message was stored, by the server's clock
   * @returns {number} when the next may be, by this one's
   */
  nextMessageAt(said) {
    if (this.isInstructor || !this.slowSeconds || !said) return 0;
    // A clock that is wrong must not make her wait for longer than the room wants.
    return Math.min(Date.parse(said), Date.now()) + this.slowSeconds * 1000;
  }

  get #isMuted() {
    return this.mutedUntil !== null && Date.parse(this.mutedUntil) > Date.now();
  }

  /** @param {Frame} event  `muted` */
  #isAboutReader({ target_user: student }) {
    return student === this.#user;
  }

  #changed() {
    clearTimeout(this.#timer);
    if (this.#isMuted) {
      const left = Date.parse(this.mutedUntil ?? '') - Date.now();
      this.#timer = setTimeout(() => this.#changed(), Math.min(left + 500, LONGEST_TIMER));
    }
    this.#onChange();
  }
}
