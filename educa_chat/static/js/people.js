/** @import { Names } from './names.js' */

import { byId, el } from './dom.js';
import { avatar } from './names.js';
import { plural, text } from './strings.js';

/** The server doesn't send names in a room where more users are online. The list of members has them. */
const MAX_NAMED = 100;

/** The list of the people who are in the room now. */
export class People {
  #button = byId('people-button');
  #title = byId('people-title');
  #list = byId('people-list');
  #concealed = byId('people-concealed');

  #reader;
  #names;

  /**
   * @param {string} reader  their username
   * @param {Names} names
   */
  constructor(reader, names) {
    this.#reader = reader;
    this.#names = names;
  }

  /** @param {Frame} presence  which has only the count in a large room */
  show({ count, users = [], names = {} }) {
    this.#names.learn(Object.entries(names).map(([user, name]) => ({ user, name: String(name) })));
    const here = plural('people.here', count);
    this.#button.hidden = false;
    this.#button.ariaLabel = here;
    this.#button.title = here;
    /** @type {HTMLElement} */ (this.#button.querySelector('span')).textContent = String(count);
    this.#title.textContent = here;
    this.#concealed.hidden = users.length > 0 || count > MAX_NAMED;
    this.#list.replaceChildren(...users.map((/** @type {string} */ user) => this.#itemOf(user)));
  }

  /** @param {string} user */
  #itemOf(user) {
    const name = this.#names.of(user);
    const item = el('li');
    item.append(avatar({ user, name }), el('bdi', '', name));
    if (user === this.#reader) item.append(el('span', 'people-you', text('people.you')));
    return item;
  }
}
