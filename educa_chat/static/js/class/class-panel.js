/** @import { RoomRules } from '../room-rules.js' */

import { byId } from '../dom.js';

/** The settings of the room, for instructors: who may write, and how often. */
export class ClassPanel {
  #panel = byId('class-bar');
  #closed = /** @type {HTMLInputElement} */ (byId('class-closed'));
  #anonymity = /** @type {HTMLInputElement} */ (byId('class-anonymity'));
  #slow = /** @type {HTMLSelectElement} */ (byId('class-slow'));
  #rules;

  /**
   * @param {RoomRules} rules
   * @param {(command: Command) => void} onCommand
   */
  constructor(rules, onCommand) {
    this.#rules = rules;
    this.#closed.addEventListener('change', () => onCommand({ type: 'close', on: this.#closed.checked }));
    this.#anonymity.addEventListener('change', () => onCommand({ type: 'anonymity', on: this.#anonymity.checked }));
    this.#slow.addEventListener('change', () => onCommand({ type: 'slow', seconds: Number(this.#slow.value) }));
    this.showRules();
    // Until now the panel could not respond.
    this.#panel.inert = false;
  }

  showRules() {
    const { isArchived, isClosed, anonymity, slowSeconds } = this.#rules;
    for (const control of [this.#closed, this.#anonymity, this.#slow]) control.disabled = isArchived;
    this.#closed.checked = isClosed;
    this.#anonymity.checked = Boolean(anonymity);
    // Another client may have set a time that is not offered here.
    const offered = [...this.#slow.options].map(({ value }) => Number(value));
    this.#slow.value = String(offered.findLast((seconds) => seconds <= slowSeconds) ?? 0);
  }
}
