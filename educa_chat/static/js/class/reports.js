import { byId } from '../dom.js';
import { load } from '../history.js';
import { plural } from '../strings.js';

/** The messages with open reports, which instructors see. */
export class Reports {
  #button = byId('moderation-button');
  #title = this.#button.title;
  #count = /** @type {HTMLElement} */ (this.#button.querySelector('span'));
  #link = byId('class-reports');
  #label = this.#link.textContent;
  /** @type {Set<number>} */
  #seqs = new Set();
  /** @type {Map<number, boolean>} changes since the list was requested, which it may not include */
  #since = new Map();
  #asked = 0;

  #room;
  #onChange;

  /**
   * @param {object} room
   * @param {number | string} room.room
   * @param {(seqs: Iterable<number>) => void} room.onChange  messages that have been reported, or whose reports have been settled
   */
  constructor({ room, onChange }) {
    this.#room = room;
    this.#onChange = onChange;
  }

  /** @param {number} seq */
  has(seq) {
    return this.#seqs.has(seq);
  }

  /** @param {number} count  their number, from `welcome` */
  async begin(count) {
    const asked = ++this.#asked;
    this.#since.clear();
    this.#showCount(count);
    const answer = count ? await load(`/chat/api/rooms/${this.#room}/reports`).catch(() => null) : { reported: [] };
    if (!answer || asked !== this.#asked) return;
    this.#become(applied(answer.reported, this.#since));
  }

  /**
   * @param {number} seq
   * @param {boolean} isOpen  whether the message has open reports from now on
   */
  set(seq, isOpen) {
    this.#since.set(seq, isOpen);
    this.#become(applied(this.#seqs, this.#since));
  }

  /** @param {Set<number>} seqs */
  #become(seqs) {
    const changed = [...seqs, ...this.#seqs].filter((seq) => seqs.has(seq) !== this.#seqs.has(seq));
    this.#seqs = seqs;
    this.#showCount(seqs.size);
    if (changed.length) this.#onChange(changed);
  }

  /** @param {number} count */
  #showCount(count) {
    const reported = plural('class.reported', count);
    this.#count.textContent = count ? String(count) : '';
    this.#button.ariaLabel = count ? `${this.#title}: ${reported}` : this.#title;
    this.#link.textContent = count ? reported : this.#label;
  }
}

/**
 * @param {Iterable<number>} seqs
 * @param {Map<number, boolean>} changes
 */
function applied(seqs, changes) {
  const now = new Set(seqs);
  for (const [seq, isOpen] of changes) {
    if (isOpen) now.add(seq);
    else now.delete(seq);
  }
  return now;
}
