import { byId } from '../dom.js';
import { load } from '../history.js';
import { plural } from '../strings.js';

const WAIT_MS = 300;
/** A random delay, so that the pages of a whole class don't all ask at the same moment. */
const SPREAD_MS = 1500;

/** The number of unanswered questions, on the button that shows only these. */
export class QuestionsCount {
  #button = byId('unanswered');
  /** @type {number | undefined} */
  #timer;
  #room;

  /** @param {number | string} room */
  constructor(room) {
    this.#room = room;
  }

  /** Counts again soon. */
  update() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#load(), WAIT_MS + Math.random() * SPREAD_MS);
  }

  async #load() {
    const answer = await load(`/chat/api/rooms/${this.#room}/unanswered`).catch(() => null);
    if (!answer) return;
    const { title } = this.#button;
    /** @type {HTMLElement} */ (this.#button.querySelector('span')).textContent = answer.count ? String(answer.count) : '';
    this.#button.ariaLabel = answer.count ? `${title}: ${plural('rooms.unanswered', answer.count)}` : title;
  }
}
