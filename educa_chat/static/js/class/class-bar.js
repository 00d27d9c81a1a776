/** @import { RoomRules } from '../room-rules.js' */

import { byId } from '../dom.js';

/** The switches of the class panel: who may write in the room, and how often. */
export class ClassBar {
  #closed = /** @type {HTMLInputElement} */ (byId('class-closed'));
  #anonymity = /** @type {HTMLInputElement} */ (byId('class-anonymity'));
  #slow = /** @type {HTMLSelectElement} */ (byId('class-slow'));

  /** @param {(command: Command) => void} onCommand */
  constructor(onCommand) {
    this.#closed.addEventListener('change', () => onCommand({ type: 'close', on: this.#closed.checked }));
    this.#anonymity.addEventListener('change', () => onCommand({ type: 'anonymity', on: this.#anonymity.checked }));
    this.#slow.addEventListener('change', () => onCommand({ type: 'slow', seconds: Number(this.#slow.value) }));
  }

  /** @param {RoomRules} rules */
  show({ isArchived, isClosed, anonymity, slowSeconds }) {
    for (const control of [this.#closed, this.#anonymity, this.#slow]) control.disabled = isArchived;
    this.#closed.checked = isClosed;
    this.#anonymity.checked = Boolean(anonymity);
    // Another client may have set a time that is not offered here.
    const offered = [...this.#slow.options].map(({ value }) => Number(value));
    this.#slow.value = String(offered.findLast((seconds) => seconds <= slowSeconds) ?? 0);
  }
}
