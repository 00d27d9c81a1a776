/** The names of people, and the avatars that are made from them. */

import { el } from './dom.js';

const AVATAR_COLOURS = 8;

/** The full names of everyone who was seen in this page. */
export class Names {
  /** @type {Map<string, string>} by username */
  #names = new Map();
  /** @type {Set<string>} the users who were shown by their username, because their name was not known */
  #nameless = new Set();

  #onNamed;

  /** @param {() => void} onNamed  called when the name of a user who was shown by their username becomes known */
  constructor(onNamed) {
    this.#onNamed = onNamed;
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

  /** @param {string} user */
  has(user) {
    return this.#names.has(user);
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
