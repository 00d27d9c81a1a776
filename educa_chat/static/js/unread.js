/** @import { LogView } from './log-view.js' */

const TELL_EVERY = 1000;

/** How far the reader has read: told to the server, drawn as a line in the log, and counted in the tab's title. */
export class Unread {
  /** The seq up to which she has read, here or in another window; null until the server has said so. */
  #marker = /** @type {number | null} */ (null);
  /** @type {number[]} the seqs of what came while the page was hidden */
  #missed = [];
  #title = document.title;
  #toldAt = 0;
  /** @type {number | undefined} until the server is told */
  #timer;
  #log;
  #newest;
  #tell;

  /**
   * @param {object} page
   * @param {LogView} page.log
   * @param {() => number} page.newest  up to where the log is shown
   * @param {(seq: number) => boolean} page.tell  the server; whether it could be told
   */
  constructor({ log, newest, tell }) {
    this.#log = log;
    this.#newest = newest;
    this.#tell = tell;
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#leave() : this.#comeBack()));
  }

  /** The log is shown anew: what was known of it may be of another history. */
  startOver() {
    this.#marker = null;
    this.#log.drawLine(Infinity);
    this.#miss([]);
  }

  /** @param {number} seq  how far the reader has read, as the server knows it when a socket is opened */
  welcomed(seq) {
    if (this.#marker === null) {
      this.#marker = seq;
      // Who was never here before has nothing to come back to.
      if (seq) {
        this.#log.drawLine(seq);
        this.#log.goToLine();
      }
    }
    this.moved(seq);
    this.look();
  }

  /** @param {number} seq  how far the reader has read in another window */
  moved(seq) {
    if (this.#marker === null || seq <= this.#marker) return;
    this.#marker = seq;
    this.#miss(this.#missed.filter((missed) => missed > seq));
    this.#log.drawLine(seq);
  }

  /**
   * A message has come, and is shown.
   *
   * @param {number} seq
   * @param {boolean} isOwn
   */
  arrived(seq, isOwn) {
    // Who writes has seen what is new.
    if (isOwn) this.#log.drawLine(Infinity);
    else if (document.hidden) {
      this.#miss([...this.#missed, seq]);
      if (this.#missed.length === 1) this.#log.drawLine(this.#marker ?? seq - 1);
    }
  }

  /** Tells the server soon, if the newest is before the reader's eyes. */
  look() {
    if (this.#timer !== undefined || document.hidden || !this.#isNews()) return;
    this.#timer = setTimeout(() => this.#report(), Math.max(0, this.#toldAt + TELL_EVERY - Date.now()));
  }

  #isNews() {
    return this.#marker !== null && this.#log.isAtBottom && this.#newest() > this.#marker;
  }

  #report() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#isNews() || !this.#tell(this.#newest())) return;
    this.#marker = this.#newest();
    this.#toldAt = Date.now();
  }

  #leave() {
    // What was seen is told now: the page may be on its way out.
    if (this.#timer !== undefined) this.#report();
  }

  #comeBack() {
    if (this.#missed.length && this.#log.isAtBottom) this.#log.goToLine();
    this.#miss([]);
    this.look();
  }

  /** @param {number[]} missed */
  #miss(missed) {
    this.#missed = missed;
    document.title = missed.length ? `(${missed.length}) ${this.#title}` : this.#title;
  }
}
