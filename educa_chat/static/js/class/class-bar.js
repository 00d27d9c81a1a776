/** @import { Command } from '../protocol.js' */
/** @import { RoomRules } from '../room-rules.js' */

import { byId } from '../page-data.js';

/** How a teacher leads the room: who may write in it, and how often. */
export class ClassBar {
  #button = byId('class-button');
  #closed = /** @type {HTMLInputElement} */ (byId('class-closed'));
  #slow = /** @type {HTMLSelectElement} */ (byId('class-slow'));

  #anonymity = /** @type {HTMLInputElement} */ (byId('class-anonymity'));

  /** @param {(command: Command) => void} give */
  constructor(give) {
    this.#closed.addEventListener('change', () => give({ type: 'close', on: this.#closed.checked }));
    this.#anonymity.addEventListener('change', () => give({ type: 'anonymity', on: this.#anonymity.checked }));
    this.#slow.addEventListener('change', () => give({ type: 'slow', seconds: Number(this.#slow.value) }));
  }

  /** @param {RoomRules} rules */
  show({ isInstructor, isClosed, anonymity, slowSeconds }) {
    this.#button.hidden = !isInstructor;
    this.#closed.checked = isClosed;
    this.#anonymity.checked = Boolean(anonymity);
    // Another client may have set a time that is not offered here.
    const offered = [...this.#slow.options].map(({ value }) => Number(value));
    this.#slow.value = String(offered.findLast((seconds) => seconds <= slowSeconds) ?? 0);
  }
}
