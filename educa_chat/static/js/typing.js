/** Who is writing something: told to the others, and shown above the composer. */

/** @import { Frame } from './protocol.js' */

import { byId } from './page-data.js';
import { text } from './strings.js';

const TOLD_EVERY = 3000;
const SHOWN_FOR = 5000;

/**
 * @param {() => void} tell  that the reader is writing
 * @returns {() => void} to be called on each change
 */
export function typingTeller(tell) {
  let toldAt = -Infinity;
  return () => {
    if (Date.now() - toldAt < TOLD_EVERY) return;
    toldAt = Date.now();
    tell();
  };
}

/** A line that is there to be seen: to listen to it would be to listen to nothing else. */
export class TypingLine {
  #line = byId('typing');
  /** @type {Map<string, {name: string, timer: number}>} */
  #people = new Map();

  /** @param {Frame} signal */
  show({ user, name }) {
    clearTimeout(this.#people.get(user)?.timer);
    this.#people.set(user, { name, timer: setTimeout(() => this.stop(user), SHOWN_FOR) });
    this.#tell();
  }

  /** @param {string} user  has said something, or nothing for a while */
  stop(user) {
    clearTimeout(this.#people.get(user)?.timer);
    if (this.#people.delete(user)) this.#tell();
  }

  #tell() {
    const [one, other, third] = [...this.#people.values()].map(({ name }) => name);
    if (!one) this.#line.textContent = '';
    else if (!other) this.#line.textContent = text('typing.one', { name: one });
    else if (!third) this.#line.textContent = text('typing.two', { name: one, other });
    else this.#line.textContent = text('typing.many');
  }
}
