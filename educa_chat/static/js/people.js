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

  #reader;

  /** @param {string} reader */
  constructor(reader) {
    this.#reader = reader;
  }

  /** @param {Iterable<{user: string, name: string}>} people */
  learn(people) {
    for (const { user, name } of people) this.#names.set(user, name);
  }

  /** @param {string} user */
  nameOf(user) {
    return this.#names.get(user) ?? user;
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
