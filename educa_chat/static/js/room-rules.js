import { serverNow } from './clock.js';
import { untilOf } from './dates.js';
import { text } from './strings.js';

const MAX_TIMER_MS = 2 ** 31 - 1;

/** @typedef {Partial<Pick<RoomRules, 'isArchived' | 'isClosed' | 'slowSeconds' | 'anonymity' | 'mutedUntil'>>} Rules */

/** Whether the reader may write in the room, how often, and whether anonymously. */
export class RoomRules {
  /** whether the reader is an instructor or an assistant */
  isInstructor;
  /** whether the room is read-only for everyone */
  isArchived = false;
  isClosed = false;
  slowSeconds = 0;
  /** @type {boolean | null} whether students may be anonymous to each other; null: not known yet */
  anonymity = null;
  /** @type {string | null} */
  mutedUntil = null;

  /** @type {number | undefined} until the reader's mute ends */
  #timer;
  #onChange;

  /**
   * @param {boolean} isInstructor
   * @param {() => void} onChange
   */
  constructor(isInstructor, onChange) {
    this.isInstructor = isInstructor;
    this.#onChange = onChange;
    // The timer may have stood still while the computer slept.
    document.addEventListener('visibilitychange', () => this.#changed());
  }

  /** @param {Frame} welcome */
  begin({ me, room, limits, state }) {
    this.isInstructor = me.role !== 'student';
    this.change({
      isArchived: Boolean(room.archived),
      isClosed: Boolean(state.closed),
      anonymity: Boolean(state.anonymity),
      slowSeconds: limits.slow_seconds ?? 0,
      mutedUntil: limits.muted_until ?? null,
    });
  }

  /** @param {Rules} rules  those that have changed */
  change(rules) {
    Object.assign(this, rules);
    this.#changed();
  }

  /** Why the reader may not write now; '' if they may. */
  get reason() {
    if (this.isArchived) return text('rule.archived');
    if (this.isInstructor) return '';
    if (this.#isMuted) return text('rule.muted_you', { until: untilOf(this.mutedUntil ?? '') });
    return this.isClosed ? text('rule.closed') : '';
  }

  get mayWrite() {
    return !this.reason;
  }

  /**
   * @param {string | undefined} datetime  when the reader's last message was stored, by the server's clock
   * @returns {number} when they may send the next one, by the server's clock
   */
  nextMessageAt(datetime) {
    if (this.isInstructor || !this.slowSeconds || !datetime) return 0;
    return Date.parse(datetime) + this.slowSeconds * 1000;
  }

  get #isMuted() {
    return this.mutedUntil !== null && Date.parse(this.mutedUntil) > serverNow();
  }

  #changed() {
    clearTimeout(this.#timer);
    if (this.#isMuted) {
      const left = Date.parse(this.mutedUntil ?? '') - serverNow();
      this.#timer = setTimeout(() => this.#changed(), Math.min(left + 500, MAX_TIMER_MS));
    }
    this.#onChange();
  }
}
