/** @typedef {{message: {seq: number, id?: string}}} Ordered  a message that is stored has a seq, a pending one has 0 */

/**
 * The order of the rows in the log: stored messages by seq, then pending ones in the order they were written.
 *
 * @template {Ordered} Row
 */
export class RowOrder {
  /** @type {Row[]} */
  #stored = [];
  /** @type {Row[]} */
  #pending = [];

  get size() {
    return this.#stored.length + this.#pending.length;
  }

  /** The rows of stored messages, the oldest first. */
  get stored() {
    return this.#stored;
  }

  /** All rows. */
  *[Symbol.iterator]() {
    yield* this.#stored;
    yield* this.#pending;
  }

  /** @returns {Row | undefined} */
  get last() {
    return this.#pending.at(-1) ?? this.#stored.at(-1);
  }

  /**
   * @param {number} seq
   * @returns {Row | undefined}
   */
  atSeq(seq) {
    const row = this.#stored[this.#indexAfter(seq - 1)];
    return row?.message.seq === seq ? row : undefined;
  }

  /**
   * @param {string} id
   * @returns {Row | undefined}
   */
  pendingWith(id) {
    return this.#pending.find(({ message }) => message.id === id);
  }

  /**
   * @param {number} seq
   * @returns {Row | undefined} the row before which an entry with this seq belongs
   */
  firstAfter(seq) {
    return this.#stored[this.#indexAfter(seq)] ?? this.#pending[0];
  }

  /** @param {Row} row */
  has(row) {
    return this.#indexOf(row) >= 0;
  }

  /**
   * @param {Row} row
   * @returns {Row | undefined}
   */
  previous(row) {
    const index = this.#indexOf(row);
    return index < 0 ? undefined : this.#at(index - 1);
  }

  /**
   * @param {Row} row
   * @returns {Row | undefined}
   */
  next(row) {
    const index = this.#indexOf(row);
    return index < 0 ? undefined : this.#at(index + 1);
  }

  /** @param {Row} row  whose message is not here yet */
  add(row) {
    const { seq } = row.message;
    if (seq) this.#stored.splice(this.#indexAfter(seq), 0, row);
    else this.#pending.push(row);
  }

  /** @param {Row} row */
  delete(row) {
    const index = this.#indexOf(row);
    if (index < 0) return;
    if (index < this.#stored.length) this.#stored.splice(index, 1);
    else this.#pending.splice(index - this.#stored.length, 1);
  }

  clear() {
    this.#stored = [];
    this.#pending = [];
  }

  /** @param {number} index */
  #at(index) {
    return this.#stored[index] ?? this.#pending[index - this.#stored.length];
  }

  /** @param {Row} row */
  #indexOf(row) {
    const { seq } = row.message;
    if (!seq) {
      const index = this.#pending.indexOf(row);
      return index < 0 ? -1 : this.#stored.length + index;
    }
    const index = this.#indexAfter(seq - 1);
    return this.#stored[index] === row ? index : -1;
  }

  /**
   * @param {number} seq
   * @returns {number} where the stored messages after `seq` begin
   */
  #indexAfter(seq) {
    let low = 0;
    let high = this.#stored.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#stored[middle].message.seq > seq) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
