/** @import { Frame } from './protocol.js' */
/** @import { ShownMessage } from './message-view.js' */

import { icon } from './icons.js';
import { excerptOf, make } from './message-view.js';
import { byId } from './page-data.js';

/** The bar with what is pinned, the newest first; each leads to its message. */
export class Pins {
  #bar = byId('pins');
  /** @type {Set<number>} */
  #seqs = new Set();
  /** @type {Map<number, ShownMessage>} what is known of them */
  #messages = new Map();

  #find;
  #onShow;

  /**
   * @param {object} ways
   * @param {(seq: number) => Promise<ShownMessage | undefined>} ways.find
   * @param {(seq: number) => void} ways.onShow
   */
  constructor({ find, onShow }) {
    this.#find = find;
    this.#onShow = onShow;
  }

  /** @param {number[]} seqs */
  replace(seqs) {
    this.#seqs = new Set(seqs);
    this.#messages.clear();
    this.#show();
    for (const seq of seqs) this.#look(seq);
  }

  /** @param {Frame} event  that has changed a message */
  apply({ type, target, on }) {
    const wasPinned = this.#seqs.has(target);
    if (type === 'pinned' && on) this.#seqs.add(target);
    else if (type === 'deleted' || type === 'pinned') this.#seqs.delete(target);
    else if (type !== 'edited' || !wasPinned) return;
    this.#show();
    if (this.#seqs.has(target)) this.#look(target);
  }

  /** @param {number} seq */
  async #look(seq) {
    const message = await this.#find(seq).catch(() => undefined);
    if (!message || !this.#seqs.has(seq)) return;
    this.#messages.set(seq, message);
    this.#show();
  }

  #show() {
    const known = [...this.#seqs].sort((one, other) => other - one).flatMap((seq) => this.#messages.get(seq) ?? []);
    const pins = known.filter(({ deleted }) => !deleted).map(({ seq, name, message }) => {
      const pin = make('button');
      pin.type = 'button';
      pin.append(icon('pin'), make('strong', '', name), ' ', make('bdi', '', excerptOf(message)));
      pin.addEventListener('click', () => this.#onShow(seq));
      const item = make('li');
      item.append(pin);
      return item;
    });
    this.#bar.hidden = pins.length === 0;
    /** @type {HTMLElement} */ (this.#bar.firstElementChild).replaceChildren(...pins);
  }
}
