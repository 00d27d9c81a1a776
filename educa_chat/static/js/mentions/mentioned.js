/** @import { Names } from '../names.js' */

import { el } from '../dom.js';
import { load } from '../history.js';
import { replaceMentions } from './spans.js';

const GATHER_MS = 200;
const MAX_AT_ONCE = 50;

/** Shows those whom messages mention by their names, and loads the names that are not known. */
export class Mentioned {
  /** @type {Set<string>} the users whose names will be loaded soon */
  #wanted = new Set();
  /** @type {Set<string>} the users whose names have been requested */
  #asked = new Set();

  #room;
  #reader;
  #names;

  /**
   * @param {object} how
   * @param {number | string} how.room
   * @param {string} how.reader
   * @param {Names} how.names
   */
  constructor({ room, reader, names }) {
    this.#room = room;
    this.#reader = reader;
    this.#names = names;
  }

  /**
   * Highlights the mentions in a message. Mentions of the reader and of everyone stand out.
   *
   * @param {HTMLElement} body
   * @param {ShownMessage} message
   */
  mark(body, message) {
    replaceMentions(body, message, ({ name, user, isForReader }) => {
      const mention = el('span', isForReader ? 'mention mention-you' : 'mention', `@${user ? this.#nameOf(user) : name}`);
      if (user) mention.title = `@${user}`;
      return mention;
    }, this.#reader);
  }

  /**
   * Replaces the mentions in the nodes of a message by names.
   *
   * @param {Node} content
   * @param {ShownMessage} message
   */
  name(content, message) {
    replaceMentions(content, message, ({ name, user }) => `@${user ? this.#nameOf(user) : name}`);
  }

  /** @param {string} user */
  #nameOf(user) {
    // A pseudonym has no name.
    if (!this.#names.has(user) && !this.#asked.has(user) && !user.startsWith('~')) {
      this.#asked.add(user);
      if (!this.#wanted.size) setTimeout(() => this.#loadWanted(), GATHER_MS);
      this.#wanted.add(user);
    }
    return this.#names.of(user);
  }

  async #loadWanted() {
    const users = [...this.#wanted].slice(0, MAX_AT_ONCE);
    for (const user of users) this.#wanted.delete(user);
    this.#names.learn(await loadMembers(this.#room, users).catch(() => []));
    if (this.#wanted.size) setTimeout(() => this.#loadWanted(), GATHER_MS);
  }
}

/**
 * @param {number | string} room
 * @param {string[]} users  at most 50
 * @returns {Promise<Member[]>} those of them who are in the room
 * @throws {import('../history.js').ApiRefusal} and what `fetch` throws without a connection
 */
export async function loadMembers(room, users) {
  return (await load(`/chat/api/rooms/${room}/members?${new URLSearchParams(users.map((one) => ['user', one]))}`)).members;
}
