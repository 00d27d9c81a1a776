/** @import { Entry } from '../outbox.js' */

import { make } from '../message-view.js';
import { byId } from '../page-data.js';
import * as storage from '../storage.js';

/**
 * Shows what the user wrote in a room and did not send, so that they can copy it: only as long as this browser keeps it,
 * for another window may sign out and remove it.
 *
 * @param {object} room  whose session has ended
 * @param {string} room.place  the part of the storage that is its own
 * @param {string} room.label  of a field with such a text
 * @param {string} room.signInUrl
 */
export function showUnsent({ place, label, signInUrl }) {
  const unsent = make('div', 'composer');
  const show = () => {
    unsent.replaceChildren(...textsIn(place).map((text) => boxOf(text, label)));
    // What was being written stays where it was.
    unsent.lastElementChild?.firstElementChild?.setAttribute('id', 'chat-message-input');
  };
  show();
  const log = make('div');
  log.id = 'chat';
  log.append(make('div', 'log-top'), unsent);
  const part = make('div', 'room-log');
  part.append(log);
  document.querySelector('.room')?.append(part);
  storage.onChangedElsewhere(show);
  // There is no session to end any more. What is kept can still be removed.
  const form = /** @type {HTMLFormElement} */ (byId('sign-out'));
  form.method = 'get';
  form.action = signInUrl;
  form.querySelector('input')?.remove();
}

/**
 * @param {string} place
 * @returns {string[]} the oldest first, and at the end what was still being written
 */
function textsIn(place) {
  /** @type {Entry[]} */
  const entries = storage.keysOf(`outbox:${place}:`).map((key) => storage.readObject(key));
  return [
    ...entries
      .filter((entry) => entry?.command)
      .sort((one, other) => (one.datetime < other.datetime ? -1 : 1))
      .map(({ command }) => command.message ?? command.reason),
    storage.read(`draft:${place}`),
    storage.readObject(`edit:${place}`)?.message,
  ].filter((text) => text);
}

/**
 * @param {string} text
 * @param {string} label
 */
function boxOf(text, label) {
  const field = make('textarea', '', text);
  field.readOnly = true;
  field.rows = 3;
  field.dir = 'auto';
  field.ariaLabel = label;
  const box = make('div', 'composer-box');
  box.append(field);
  return box;
}
