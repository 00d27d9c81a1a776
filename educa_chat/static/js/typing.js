/** The users who are typing: reported to others, and shown above the composer. */

import { byId } from './dom.js';
import { text } from './strings.js';

const REPORT_EVERY_MS = 3000;
const SHOWN_FOR_MS = 5000;

/**
 * @param {() => void} report  that the reader is typing
 * @returns {() => void} to be called on each change; it reports once in a while
 */
export function typingReporter(report) {
  let reportedAt = -Infinity;
  return () => {
    if (performance.now() - reportedAt < REPORT_EVERY_MS) return;
    reportedAt = performance.now();
    report();
  };
}

/** The line above the composer. It isn't a live region, because a screen reader would never stop reading it. */
export class TypingLine {
  #line = byId('typing');
  /** @type {Map<string, {name: string, timer: number}>} */
  #people = new Map();

  /** @param {Frame} signal */
  show({ user, name }) {
    clearTimeout(this.#people.get(user)?.timer);
    this.#people.set(user, { name, timer: setTimeout(() => this.stop(user), SHOWN_FOR_MS) });
    this.#report();
  }

  /** @param {string} user  has sent a message, or has stopped typing */
  stop(user) {
    clearTimeout(this.#people.get(user)?.timer);
    if (this.#people.delete(user)) this.#report();
  }

  #report() {
    const [one, other, third] = [...this.#people.values()].map(({ name }) => name);
    if (!one) this.#line.textContent = '';
    else if (!other) this.#line.textContent = text('typing.one', { name: one });
    else if (!third) this.#line.textContent = text('typing.two', { name: one, other });
    else this.#line.textContent = text('typing.many');
  }
}
