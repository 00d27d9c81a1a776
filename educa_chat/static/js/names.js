/** The names of people, and the avatars that are made from them. */

import { el } from './dom.js';

const AVATAR_COLOURS = 8;
const GATHER_MS = 200;
const MAX_AT_ONCE = 50;

/** The full names of everyone who was seen in this page. */
export class Names {
  /** @type {Map<string, string>} by username */
  #names = new Map();
  /** @type {Set<string>} the users who were shown by their username, because their name was not known */
  #nameless = new Set();

  /** @type {Set<string>} the users whose names are loaded soon */
  #wanted = new Set();
  /** @type {Set<string>} the users whose names have been asked for */
  #asked = new Set();

  #onNamed;
  #load;

  /**
   * @param {object} callbacks
   * @param {() => void} callbacks.onNamed  called when a user who was shown by their username gets a name
   * @param {(users: string[]) => Promise<Iterable<{user: string, name: string}>>} callbacks.load
   */
  constructor({ onNamed, load }) {
    this.#onNamed = onNamed;
    this.#load = load;
  }

  /** @param {Iterable<{user: string, name: string}>} people */
  learn(people) {
    let isNamed = false;
    for (const { user, name } of people) {
      this.#names.set(user, name);
      isNamed = this.#nameless.delete(user) || isNamed;
    }
    if (isNamed) this.#onNamed();
  }

  /**
   * @param {string} user
   * @returns {string} the full name, or the username until that is known
   */
  of(user) {
    const name = this.#names.get(user);
    if (name === undefined) this.#nameless.add(user);
    return name ?? user;
  }

  /**
   * @param {string} user  whom a message mentions
   * @returns {string} the same as `of`; a name that is not known is loaded
   */
  ofMentioned(user) {
    if (!this.#names.has(user)) this.#want(user);
    return this.of(user);
  }

  /** @param {string} user */
  #want(user) {
    // A pseudonym has no name.
    if (this.#asked.has(user) || user.startsWith('~')) return;
    this.#asked.add(user);
    if (!this.#wanted.size) setTimeout(() => this.#loadWanted(), GATHER_MS);
    this.#wanted.add(user);
  }

  async #loadWanted() {
    const users = [...this.#wanted].slice(0, MAX_AT_ONCE);
    for (const user of users) this.#wanted.delete(user);
    this.learn(await this.#load(users).catch(() => []));
    if (this.#wanted.size) setTimeout(() => this.#loadWanted(), GATHER_MS);
  }
}

/**
 * Makes the round picture with the initials of a person. Its colour follows from the username.
 *
 * @param {{user: string, name: string}} person
 */
export function avatar({ user, name }) {
  const element = el('span', `avatar disc-${hash(user) % AVATAR_COLOURS}`, initialsOf(name));
  element.ariaHidden = 'true';
  return element;
}

/** @param {string} name */
function initialsOf(name) {
  const words = name.split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => word.match(/[\p{L}\p{N}]\p{M}*/u)?.[0] ?? '').join('').toLocaleUpperCase() || '?';
}

/** @param {string} word */
function hash(word) {
  let value = 0;
  for (const character of word) value = (Math.imul(value, 31) + (character.codePointAt(0) ?? 0)) >>> 0;
  return value;
}
