/** @import { RowOrder } from './row-order.js' */

import { dayOf } from '../dates.js';
import { el } from '../dom.js';
import { isGrouped, opensDay } from './dividers.js';

/** The elements of the messages, in the order of the rows. */
export class Rows {
  /** @type {Map<HTMLElement, Row>} */
  #byElement = new Map();
  #log;
  #order;
  #elementOf;
  #isFirstUnread;
  #onReplaced;

  /**
   * @param {HTMLElement} log
   * @param {RowOrder<Row>} order
   * @param {RowCallbacks} callbacks
   */
  constructor(log, order, { elementOf, isFirstUnread, onReplaced }) {
    this.#log = log;
    this.#order = order;
    this.#elementOf = elementOf;
    this.#isFirstUnread = isFirstUnread;
    this.#onReplaced = onReplaced;
  }

  /**
   * @param {EventTarget | null} target
   * @returns {Row | undefined} the row that it is in
   */
  rowOf(target) {
    const element = target instanceof Element ? target.closest('.message') : null;
    return element instanceof HTMLElement ? this.#byElement.get(element) : undefined;
  }

  /**
   * Inserts a message at its place.
   *
   * @param {ShownMessage} message
   * @returns {Row}
   */
  insert(message) {
    /** @type {Row} */
    const row = { message, element: this.#elementOf(message) };
    this.#byElement.set(row.element, row);
    this.#order.add(row);
    const next = this.#order.next(row);
    this.insertBefore(row.element, next);
    this.arrange(row);
    this.arrange(next);
    return row;
  }

  /**
   * Inserts an element above a row.
   *
   * @param {HTMLElement} element
   * @param {Row | undefined} row  undefined: at the end
   */
  insertBefore(element, row) {
    this.#log.insertBefore(element, row?.dayDivider ?? row?.element ?? null);
  }

  /** @param {Row} row */
  remove(row) {
    const next = this.#order.next(row);
    this.forget(row);
    row.dayDivider?.remove();
    row.element.remove();
    this.arrange(next);
  }

  /** @param {Row} row  whose elements are removed elsewhere */
  forget(row) {
    this.#byElement.delete(row.element);
    this.#order.delete(row);
  }

  clear() {
    this.#byElement.clear();
    this.#order.clear();
  }

  /** @param {Row} row  that has changed */
  render(row) {
    const { element: former, message } = row;
    const element = this.#elementOf(message);
    const focused = former.contains(document.activeElement) ? document.activeElement : null;
    const toolbar = former.querySelector('.tools');
    if (toolbar && !message.deleted) element.append(toolbar);
    if (former.classList.contains('shown')) element.classList.add('shown');
    former.replaceWith(element);
    this.#byElement.delete(former);
    this.#byElement.set(element, row);
    row.element = element;
    this.#onReplaced(former, element);
    this.arrange(row);
    if (focused instanceof HTMLElement) counterpart(focused, element).focus({ preventScroll: true });
  }

  /** @param {(message: ShownMessage) => unknown} condition */
  renderWhere(condition) {
    for (const row of this.#order.stored) if (condition(row.message)) this.render(row);
  }

  /**
   * Updates what depends on the row before it: the heading of a day, and whether the author's name is shown.
   *
   * @param {Row | undefined} row
   */
  arrange(row) {
    if (!row || !this.#order.has(row)) return;
    const previous = this.#order.previous(row)?.message;
    const isFirstOfDay = opensDay(previous, row.message);
    if (isFirstOfDay && !row.dayDivider) {
      row.dayDivider = el('h2', 'day', dayOf(row.message.datetime));
      row.element.before(row.dayDivider);
    } else if (!isFirstOfDay) {
      row.dayDivider?.remove();
      row.dayDivider = undefined;
    }
    row.element.classList.toggle('grouped', isGrouped(previous, row.message) && !this.#isFirstUnread(row));
  }

  /** Today has become yesterday. */
  renameDays() {
    for (const { dayDivider, message } of this.#order) if (dayDivider) dayDivider.textContent = dayOf(message.datetime);
  }
}

/**
 * @param {HTMLElement} focused  in the former element of a row
 * @param {HTMLElement} element  the one that replaces it
 * @returns {HTMLElement} the element that gets the focus
 */
function counterpart(focused, element) {
  if (element.contains(focused)) return focused;
  const { action, value } = focused.dataset;
  const buttons = [...element.querySelectorAll('button')];
  return buttons.find(({ dataset }) => action && dataset.action === action && dataset.value === value) ?? element;
}
