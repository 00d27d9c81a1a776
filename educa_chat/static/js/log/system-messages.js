/** @import { RowOrder } from './row-order.js' */
/** @import { Rows } from './rows.js' */

import { el } from '../dom.js';

/** The events that the log shows as a line between the messages, such as a mute. */
export class SystemMessages {
  /** @type {Map<number, {event: Frame, element: HTMLElement}>} by seq */
  #shown = new Map();
  #order;
  #rows;
  #textOf;

  /**
   * @param {RowOrder<Row>} order
   * @param {Rows} rows
   * @param {(event: Frame) => string} textOf
   */
  constructor(order, rows, textOf) {
    this.#order = order;
    this.#rows = rows;
    this.#textOf = textOf;
  }

  /** @param {Frame[]} events  in order; those that are already shown stay */
  show(events) {
    for (const event of events) {
      if (this.#shown.has(event.seq)) continue;
      const element = el('p', 'remark', this.#textOf(event));
      this.#shown.set(event.seq, { event, element });
      this.#rows.insertBefore(element, this.#order.firstAfter(event.seq));
    }
  }

  /** More names are known than before. */
  rename() {
    for (const { event, element } of this.#shown.values()) element.textContent = this.#textOf(event);
  }

  /** Forgets system messages whose elements were removed from the page. */
  forgetRemoved() {
    for (const [seq, { element }] of this.#shown) if (!element.isConnected) this.#shown.delete(seq);
  }
}
