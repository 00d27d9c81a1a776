import { byId, el } from './dom.js';
import { load } from './history.js';
import { locale, plural } from './strings.js';

const LOOK_EVERY = 30_000;

/** The number of unread messages in the reader's other rooms, beside each in the list and at the button that opens it. */
export class Rooms {
  #links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('[data-room]')]);
  #button = byId('menu-button');
  #label = this.#button.ariaLabel;
  #isLooking = false;

  constructor() {
    if (!this.#links.length) return;
    document.addEventListener('visibilitychange', () => this.#look());
    setInterval(() => this.#look(), LOOK_EVERY);
    this.#look();
  }

  async #look() {
    if (document.hidden || this.#isLooking) return;
    this.#isLooking = true;
    const answer = await load('/chat/api/rooms').catch(() => null);
    this.#isLooking = false;
    if (answer) this.#show(new Map(answer.rooms.map((/** @type {{id: number | string, unread: number}} */ { id, unread }) => [String(id), unread])));
  }

  /** @param {Map<string | undefined, number>} unread  by room */
  #show(unread) {
    let all = 0;
    for (const link of this.#links) {
      const count = unread.get(link.dataset.room) ?? 0;
      all += count;
      link.querySelector('.unread')?.remove();
      if (count) link.append(' ', badgeOf(count));
    }
    this.#button.classList.toggle('news', all > 0);
    this.#button.ariaLabel = all ? `${this.#label} (${plural('rooms.unread', all)})` : this.#label;
  }
}

/** @param {number} count */
function badgeOf(count) {
  const number = el('span', '', count.toLocaleString(locale));
  number.ariaHidden = 'true';
  const badge = el('span', 'badge unread');
  badge.append(number, el('span', 'unseen', plural('rooms.unread', count)));
  return badge;
}
