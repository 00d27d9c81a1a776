/** @import { Frame } from '../protocol.js' */

import { load } from '../history.js';
import { byId } from '../page-data.js';
import { plural } from '../strings.js';

/** The messages that were reported and that no instructor has dealt with. */
export class Reports {
  #button = byId('class-button');
  #title = this.#button.title;
  #count = /** @type {HTMLElement} */ (this.#button.querySelector('span'));
  #link = byId('class-reports');
  /** @type {Set<number>} */
  #seqs = new Set();
  /** @type {Frame[]} what has happened since the list was last asked for, which may not have it yet */
  #since = [];
  #asked = 0;

  #room;
  #onChange;

  /**
   * @param {object} how
   * @param {number | string} how.room
   * @param {(seqs: Iterable<number>) => void} how.onChange  these messages were reported, or are it no more
   */
  constructor({ room, onChange }) {
    this.#room = room;
    this.#onChange = onChange;
  }

  /** @param {number} seq */
  has(seq) {
    return this.#seqs.has(seq);
  }

  /** @param {number} count  how many there are, as the server knows it when a socket is opened */
  async begin(count) {
    const asked = ++this.#asked;
    this.#since = [];
    this.#tell(count);
    const answer = count ? await load(`/chat/api/rooms/${this.#room}/reports`).catch(() => null) : { reported: [] };
    if (!answer || asked !== this.#asked) return;
    const seqs = new Set(/** @type {number[]} */ (answer.reported));
    for (const event of this.#since) fold(seqs, event);
    this.#become(seqs);
  }

  /** @param {Frame} event  `reported`, `settled` or `deleted` */
  apply(event) {
    this.#since.push(event);
    const seqs = new Set(this.#seqs);
    fold(seqs, event);
    this.#become(seqs);
  }

  /** @param {Set<number>} seqs */
  #become(seqs) {
    const changed = [...seqs, ...this.#seqs].filter((seq) => seqs.has(seq) !== this.#seqs.has(seq));
    this.#seqs = seqs;
    this.#tell(seqs.size);
    if (changed.length) this.#onChange(changed);
  }

  /** @param {number} count */
  #tell(count) {
    const reported = plural('class.reported', count);
    this.#count.textContent = count ? String(count) : '';
    this.#button.ariaLabel = count ? `${this.#title}: ${reported}` : this.#title;
    this.#link.textContent = reported;
  }
}

/**
 * @param {Set<number>} seqs
 * @param {Frame} event
 */
function fold(seqs, { type, target }) {
  if (type === 'reported') seqs.add(target);
  else seqs.delete(target);
}
