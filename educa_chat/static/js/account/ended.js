import { byId, el } from '../dom.js';
import * as storage from '../storage.js';

/**
 * Shows the user's unsent text in a room, so that they can copy it. Another window may sign out and remove it.
 *
 * @param {HTMLElement} log  where it is shown
 * @param {object} session  which has ended
 * @param {string} session.storageKey  of the user and the room
 * @param {string} session.label  of a field with such a text
 * @param {string} session.signInUrl
 */
export function showUnsent(log, { storageKey, label, signInUrl }) {
  const unsent = el('div', 'composer');
  const show = () => {
    unsent.replaceChildren(...textsIn(storageKey).map((text) => boxOf(text, label)));
    // The text that was being written stays in its field.
    unsent.lastElementChild?.firstElementChild?.setAttribute('id', 'chat-message-input');
  };
  show();
  log.append(unsent);
  storage.onChangedElsewhere(show);
  // The session has ended already, but the form also removes what this browser has stored.
  const form = /** @type {HTMLFormElement} */ (byId('sign-out'));
  form.method = 'get';
  form.action = signInUrl;
  form.querySelector('input')?.remove();
}

/**
 * @param {string} storageKey
 * @returns {string[]} the oldest first, and at the end the text that the user was still writing
 */
function textsIn(storageKey) {
  /** @type {Entry[]} */
  const entries = storage.keysOf(`outbox:${storageKey}:`).map((key) => storage.readObject(key));
  return [
    ...entries
      .filter((entry) => entry?.command)
      .sort((one, other) => (one.datetime < other.datetime ? -1 : 1))
      .map(({ command }) => command.message ?? command.reason),
    ...storage.keysOf(`draft:${storageKey}:`).flatMap((key) => {
      const { draft, edit } = storage.readObject(key) ?? {};
      return [draft, edit?.message];
    }),
  ].filter((text) => text);
}

/**
 * @param {string} text
 * @param {string} label
 */
function boxOf(text, label) {
  const field = el('textarea', '', text);
  field.readOnly = true;
  field.rows = 3;
  field.dir = 'auto';
  field.ariaLabel = label;
  const box = el('div', 'composer-box');
  box.append(field);
  return box;
}
