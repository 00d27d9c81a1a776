/** The actions that the reader can take on a message. */

import { copyText } from './clipboard.js';
import { ACTIONS } from './events/registry.js';

/** @type {MessageAction} */
const copy = {
  name: 'copy',
  icon: 'M9 9h11v11H9zM5 15H4V4h11v1',
  rank: 40,
  may: () => true,
  run: ({ message }) => copyText(message),
};
const ALL = [...ACTIONS, copy].sort((one, other) => one.rank - other.rank);

/** The actions of the kinds of event, and copying, which is not an event. */
export class Actions {
  #reader;
  #page;

  /**
   * @param {Reader} reader
   * @param {RoomPage} page
   */
  constructor(reader, page) {
    this.#reader = reader;
    this.#page = page;
  }

  /**
   * @param {string} name
   * @returns {string} the SVG path of its icon
   */
  iconOf(name) {
    return ALL.find((action) => action.name === name)?.icon ?? '';
  }

  /**
   * @param {ShownMessage} message
   * @returns {MessageAction[]} in the order of the menu
   */
  offeredOn(message) {
    if (!message.seq || message.deleted) return [];
    if (this.#reader.isArchived) return [copy];
    return ALL.filter(({ may }) => may(message, this.#reader));
  }

  /**
   * @param {string} name
   * @param {ShownMessage} message
   */
  isOffered(name, message) {
    return this.offeredOn(message).some((action) => action.name === name);
  }

  /**
   * @param {string} name
   * @param {ShownMessage} message
   * @param {HTMLElement} anchor  near which a panel opens
   */
  run(name, message, anchor) {
    ALL.find((action) => action.name === name)?.run(message, this.#page, anchor);
  }
}
