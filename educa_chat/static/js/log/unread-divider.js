/** @import { RowOrder } from './row-order.js' */
/** @import { Rows } from './rows.js' */

import { el } from '../dom.js';
import { text } from '../strings.js';
import { firstUnread } from './dividers.js';

/** The line above the first message of somebody else that the reader has not read. */
export class UnreadDivider {
  #element = el('div', 'new-line', text('log.new'));
  /** The seq up to which the reader has read. */
  #after = Infinity;
  /** @type {Row | undefined} the row below; undefined: there is no divider */
  #below;
  #order;
  #rows;

  /**
   * @param {RowOrder<Row>} order
   * @param {Rows} rows
   */
  constructor(order, rows) {
    this.#order = order;
    this.#rows = rows;
    this.#element.role = 'separator';
    this.#element.ariaLabel = text('log.new');
  }

  /** Whether there is one. */
  get isShown() {
    return this.#below !== undefined;
  }

  /** How far below the upper edge of the whole log it is. */
  get offsetTop() {
    return this.#element.offsetTop;
  }

  /** @param {Row} row */
  isAbove(row) {
    return row === this.#below;
  }

  /** @param {number} after  the seq up to which the reader has read */
  moveTo(after) {
    this.#after = after;
    this.update();
  }

  /** Looks again for the first unread message. */
  update() {
    const former = this.#below;
    this.#below = firstUnread(this.#order.stored, this.#after);
    this.#element.remove();
    this.attach();
    this.#rows.arrange(former);
    this.#rows.arrange(this.#below);
  }

  /** Moves directly above its message, with nothing between them. */
  attach() {
    this.#below?.element.before(this.#element);
  }

  remove() {
    this.#below = undefined;
    this.#element.remove();
  }

  /** Forgets the row below if it was removed from the page together with the divider. */
  forgetRemoved() {
    if (!this.#element.isConnected) this.#below = undefined;
  }
}
