import { byId, el } from './dom.js';
import { load } from './history.js';
import { locale, plural } from './strings.js';

const LOOK_EVERY_MS = 30_000;

/** @typedef {{id: number | string, unread: number, mentions?: number}} RoomCounts */

/** The unread counts of the reader's other rooms, next to each room in the list and on the button that opens the list. */
export class Rooms {
  #links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[data-room]')]);
  #button = byId('menu-button');
  #label = this.#button.ariaLabel;
  #markAll = byId('read-all');
  /** @type {Map<string | undefined, RoomCounts>} */
  #counts = new Map();
  #isLooking = false;

  /** @param {() => void} onReadAll  the reader has read everything */
  constructor(onReadAll) {
    const current = document.querySelector('.sidebar-rooms [aria-current]');
    const showCurrent = () => current?.scrollIntoView({ block: 'nearest' });
    showCurrent();
    byId('sidebar').addEventListener('toggle', showCurrent);
    this.#markAll.addEventListener('click', onReadAll);
    document.addEventListener('visibilitychange', () => this.#look());
    // The socket reports most changes at once.
    setInterval(() => this.#look(), LOOK_EVERY_MS);
    this.#look();
  }

  /** @param {RoomCounts[]} rooms  whose counts have changed */
  change(rooms) {
    for (const room of rooms) this.#counts.set(String(room.id), room);
    this.#show();
  }

  async #look() {
    if (document.hidden || this.#isLooking) return;
    this.#isLooking = true;
    const answer = await load('/chat/api/rooms').catch(() => null);
    this.#isLooking = false;
    if (answer) this.change(answer.rooms);
  }

  #show() {
    let all = 0;
    let mentioned = 0;
    for (const link of this.#links) {
      const { unread = 0, mentions = 0 } = this.#counts.get(link.dataset.room) ?? {};
      all += unread;
      mentioned += mentions;
      link.querySelector('.unread')?.remove();
      if (unread) link.append(' ', badgeOf(unread, mentions));
    }
    this.#markAll.hidden = !all;
    this.#button.classList.toggle('news', all > 0);
    this.#button.classList.toggle('mentions', mentioned > 0);
    this.#button.ariaLabel = all ? `${this.#label} (${labelOf(all, mentioned)})` : this.#label;
  }
}

/**
 * @param {number} unread
 * @param {number} mentions
 */
function badgeOf(unread, mentions) {
  const number = el('span', '', (mentions ? '@ ' : '') + unread.toLocaleString(locale));
  number.ariaHidden = 'true';
  const badge = el('span', `badge unread${mentions ? ' mentions' : ''}`);
  badge.append(number, el('span', 'unseen', labelOf(unread, mentions)));
  return badge;
}

/**
 * @param {number} unread
 * @param {number} mentions
 */
function labelOf(unread, mentions) {
  const label = plural('rooms.unread', unread);
  return mentions ? `${label}, ${plural('rooms.mentions', mentions)}` : label;
}
