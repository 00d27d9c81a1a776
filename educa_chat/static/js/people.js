/** @import { Frame } from './protocol.js' */

import { discOf, make } from './message-view.js';
import { byId } from './page-data.js';
import { plural, text } from './strings.js';

/** Who is in the room now, and what everybody is called who was ever seen here. */
export class People {
  #button = byId('people-button');
  #title = byId('people-title');
  #list = byId('people-list');
  #tooMany = byId('people-too-many');
  /** @type {Map<string, string>} */
  #names = new Map();
  /** @type {Set<string>} who had to be shown without a name */
  #nameless = new Set();

  #reader;
  #onNamed;

  /**
   * @param {string} reader
   * @param {() => void} onNamed  somebody who was shown without a name has one now
   */
  constructor(reader, onNamed) {
    this.#reader = reader;
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

  /** @param {string} user */
  nameOf(user) {
    const name = this.#names.get(user);
    if (name === undefined) this.#nameless.add(user);
    return name ?? user;
  }

  /**
   * @param {Frame} presence  of a large room it has the count alone
   */
  show({ count, users = [], names = {} }) {
    this.learn(Object.entries(names).map(([user, name]) => ({ user, name: String(name) })));
    const here = plural('people.here', count);
    this.#button.hidden = false;
    this.#button.ariaLabel = here;
    this.#button.title = here;
    /** @type {HTMLElement} */ (this.#button.querySelector('span')).textContent = String(count);
    this.#title.textContent = here;
    this.#tooMany.hidden = users.length > 0;
    this.#list.replaceChildren(...users.map((/** @type {string} */ user) => this.#lineOf(user)));
  }

  /** @param {string} user */
  #lineOf(user) {
    const name = this.nameOf(user);
    const line = make('li');
    line.append(discOf({ user, name }), make('bdi', '', name));
    if (user === this.#reader) line.append(make('span', 'people-you', text('people.you')));
    return line;
  }
}
