/** @import { Names } from '../names.js' */

import { buttonEl, byId, el } from '../dom.js';
import { load } from '../history.js';
import { avatar } from '../names.js';
import { plural, text } from '../strings.js';

const ASK_AFTER_MS = 200;

/** @typedef {Member & {online?: boolean}} ListedMember */

/** The members of the course in the people panel: all of them or the results of a search, with roles and presence. */
export class Members {
  #panel = byId('people');
  #search = el('input');
  #told = el('p', 'members-told');
  #list = el('ul');
  #more = buttonEl('quiet', text('members.more'));
  #page = 1;
  /** @type {Map<string, HTMLElement>} the marks of online users, by username */
  #marks = new Map();
  #asked = new AbortController();
  /** @type {number | undefined} */
  #timer;

  #room;
  #reader;
  #names;

  /**
   * @param {object} room
   * @param {number | string} room.room
   * @param {string} room.reader  their username
   * @param {Names} room.names
   */
  constructor({ room, reader, names }) {
    this.#room = room;
    this.#reader = reader;
    this.#names = names;
    this.#search.type = 'search';
    this.#search.maxLength = 100;
    this.#search.dir = 'auto';
    this.#search.placeholder = text('members.search');
    this.#search.ariaLabel = text('members.search');
    this.#told.role = 'status';
    this.#list.ariaLabel = text('members.list');
    this.#search.addEventListener('input', () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#load(1), ASK_AFTER_MS);
    });
    this.#more.addEventListener('click', () => this.#load(this.#page + 1));
    this.#panel.addEventListener('toggle', () => this.#panel.matches(':popover-open') && this.#load(1));
    for (const id of ['people-list', 'members-button']) byId(id).hidden = true;
    const section = byId('members');
    section.append(this.#search, this.#told, this.#list, this.#more);
    section.hidden = false;
    this.#load(1);
  }

  focus() {
    this.#search.focus();
  }

  /** @param {Frame} presence  without names in a large room, and for students while users are concealed */
  showPresence({ users }) {
    if (users) for (const [user, mark] of this.#marks) mark.hidden = !users.includes(user);
  }

  /** @param {number} page  of the list; the first one replaces what is shown */
  async #load(page) {
    this.#asked.abort();
    const asked = (this.#asked = new AbortController());
    const query = new URLSearchParams({ q: this.#search.value.trim(), page: String(page) });
    const answer = await load(`/chat/api/rooms/${this.#room}/roster?${query}`, asked.signal).catch(() => null);
    if (asked.signal.aborted) return;
    if (!answer) {
      this.#told.textContent = text('members.failed');
      return;
    }
    this.#page = page;
    this.#show(answer, page === 1);
  }

  /**
   * @param {{members: ListedMember[], total: number, more: boolean}} answer
   * @param {boolean} isFirst
   */
  #show({ members, total, more }, isFirst) {
    this.#names.learn(members);
    if (isFirst) {
      this.#marks.clear();
      this.#list.replaceChildren();
    }
    const items = members.map((member) => this.#itemOf(member));
    this.#list.append(...items);
    this.#told.textContent = plural('members.found', total);
    const hadFocus = document.activeElement === this.#more;
    this.#more.hidden = !more;
    // The button that had the focus has moved down or is gone.
    if (hadFocus && items.length) {
      items[0].tabIndex = -1;
      items[0].focus();
    }
  }

  /** @param {ListedMember} member */
  #itemOf({ user, name, role, online }) {
    const item = el('li');
    const about = el('span', 'members-about');
    if (role !== 'student') about.append(el('span', 'badge', text(`message.${role}`)));
    if (user === this.#reader) about.append(el('span', 'members-you', text('people.you')));
    const mark = el('span', 'members-online', text('members.online'));
    mark.hidden = !online;
    this.#marks.set(user, mark);
    about.append(mark);
    item.append(avatar({ user, name }), el('bdi', '', name), about);
    return item;
  }
}
