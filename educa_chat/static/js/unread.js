/** @import { LogView } from './log/log-view.js' */

const REPORT_EVERY_MS = 1000;

/** How far the reader has read: reported to the server, and shown by the unread divider and a count in the tab's title. */
export class Unread {
  /** The seq up to which the reader has read, here or in another window; null until the server has said so. */
  #marker = /** @type {number | null} */ (null);
  /** @type {number[]} the seqs of the messages that arrived while the page was hidden */
  #missed = [];
  #title = document.title;
  #reportedAt = -Infinity;
  /** @type {number | undefined} until the next report */
  #timer;
  #log;
  #newest;
  #report;

  /**
   * @param {object} page
   * @param {LogView} page.log
   * @param {() => number} page.newest  the seq of the last event that the log shows
   * @param {(seq: number) => boolean} page.report  tells the server; false without a connection
   */
  constructor({ log, newest, report }) {
    this.#log = log;
    this.#newest = newest;
    this.#report = report;
    document.addEventListener('visibilitychange', () => (document.hidden ? this.#leave() : this.#comeBack()));
  }

  /** From now on, the log may show another history. */
  startOver() {
    this.#marker = null;
    this.#log.showUnreadAfter(Infinity);
    this.#miss([]);
  }

  /** @param {number} seq  how far the reader has read, from `welcome` */
  welcomed(seq) {
    if (this.#marker === null) {
      this.#marker = seq;
      // A reader who has never been here has not read anything yet.
      if (seq) {
        this.#log.showUnreadAfter(seq);
        this.#log.goToUnread();
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
    this.#log.showUnreadAfter(seq);
  }

  /**
   * A message has arrived and is shown.
   *
   * @param {number} seq
   * @param {boolean} isOwn
   */
  arrived(seq, isOwn) {
    // Posting implies having seen the new messages.
    if (isOwn) this.#log.showUnreadAfter(Infinity);
    else if (document.hidden) {
      this.#miss([...this.#missed, seq]);
      if (this.#missed.length === 1) this.#log.showUnreadAfter(this.#marker ?? seq - 1);
    }
  }

  /** @param {number} seq  of a message that was deleted, and no longer counts as unread */
  removed(seq) {
    this.#miss(this.#missed.filter((missed) => missed !== seq));
  }

  /** Soon reports the newest message as read, if the reader sees it. */
  look() {
    if (this.#timer !== undefined || document.hidden || !this.#isNews()) return;
    this.#timer = setTimeout(() => this.#reportNow(), Math.max(0, this.#reportedAt + REPORT_EVERY_MS - performance.now()));
  }

  #isNews() {
    return this.#marker !== null && this.#log.isAtBottom && this.#newest() > this.#marker;
  }

  #reportNow() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#isNews() || !this.#report(this.#newest())) return;
    this.#marker = this.#newest();
    this.#reportedAt = performance.now();
  }

  #leave() {
    // Reported now, because the page may be closed soon.
    if (this.#timer !== undefined) this.#reportNow();
  }

  #comeBack() {
    if (this.#missed.length && this.#log.isAtBottom) this.#log.goToUnread();
    this.#miss([]);
    this.look();
  }

  /** @param {number[]} missed */
  #miss(missed) {
    this.#missed = missed;
    document.title = missed.length ? `(${missed.length}) ${this.#title}` : this.#title;
  }
}
