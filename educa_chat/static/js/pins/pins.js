import { buttonEl, byId, el } from '../dom.js';
import { excerptOf } from '../excerpt.js';
import { PIN, icon } from '../icons.js';

/** The bar with the pinned messages, the newest first. Each links to its message in the log. */
export class Pins {
  #bar = byId('pins');
  /** @type {Set<number>} */
  #seqs = new Set();
  /** @type {Map<number, ShownMessage>} the pinned messages that are known */
  #messages = new Map();

  #find;
  #mentions;
  #onShow;

  /**
   * @param {object} callbacks
   * @param {(seq: number) => Promise<ShownMessage | undefined>} callbacks.find
   * @param {MentionNames} callbacks.mentions
   * @param {(seq: number) => void} callbacks.onShow
   */
  constructor({ find, mentions, onShow }) {
    this.#find = find;
    this.#mentions = mentions;
    this.#onShow = onShow;
  }

  /** @param {number[]} seqs */
  replace(seqs) {
    this.#seqs = new Set(seqs);
    this.#messages.clear();
    this.show();
    for (const seq of seqs) this.#look(seq);
  }

  /**
   * @param {number} seq
   * @param {boolean} isPinned
   */
  set(seq, isPinned) {
    if (isPinned) this.#seqs.add(seq);
    else this.#seqs.delete(seq);
    this.show();
    this.refresh(seq);
  }

  /** @param {number} seq  of a message that may be pinned, and may have changed */
  refresh(seq) {
    if (this.#seqs.has(seq)) this.#look(seq);
  }

  /** @param {number} seq */
  async #look(seq) {
    const message = await this.#find(seq).catch(() => undefined);
    if (!message || !this.#seqs.has(seq)) return;
    this.#messages.set(seq, message);
    this.show();
  }

  /** Shows the pinned messages, with the names that are known now. */
  show() {
    const known = [...this.#seqs].sort((one, other) => other - one).flatMap((seq) => this.#messages.get(seq) ?? []);
    const pins = known.filter(({ deleted }) => !deleted).map((message) => {
      const pin = buttonEl();
      pin.append(icon(PIN), el('strong', '', message.name), ' ', el('bdi', '', excerptOf(message, this.#mentions)));
      pin.addEventListener('click', () => this.#onShow(message.seq));
      const item = el('li');
      item.append(pin);
      return item;
    });
    this.#bar.hidden = pins.length === 0;
    /** @type {HTMLElement} */ (this.#bar.firstElementChild).replaceChildren(...pins);
  }
}
