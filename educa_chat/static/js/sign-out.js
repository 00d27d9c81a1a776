/**
 * The button that signs out. It asks for confirmation if something was not sent, and deletes the user's data in this
 * browser. It also works without a connection, so this is loaded with the page.
 */

import { reload } from './embedded.js';
import './forget.js';
import { cut } from './graphemes.js';
import { ask } from './popover.js';
import * as storage from './storage.js';

const EXCERPT = 80;

const form = /** @type {HTMLFormElement} */ (document.getElementById('sign-out'));
const dialog = /** @type {HTMLDialogElement} */ (document.getElementById('sign-out-dialog'));
const { user = '' } = form.dataset;

// In a panel, it would close together with the panel.
document.body.append(dialog);
form.addEventListener('submit', async (event) => {
  event.preventDefault();
  const unsent = storage.keysOfUser(user).flatMap(unsentIn);
  dialog.querySelector('ul')?.replaceChildren(...unsent.filter(({ text }) => text).map(itemOf));
  if (unsent.length && !(await ask(dialog))) return;
  for (const key of storage.keysOfUser(user)) storage.remove(key);
  storage.close();
  // So the server doesn't have to request it on the next page.
  const forgotten = document.createElement('input');
  Object.assign(forgotten, { type: 'hidden', name: 'forgotten', value: 'yes' });
  form.append(forgotten);
  form.submit();
});

// A page from the browser's back/forward cache may show what the user may no longer see, so hide it until it is reloaded.
addEventListener('pagehide', ({ persisted }) => (document.documentElement.hidden = persisted));
addEventListener('pageshow', ({ persisted }) => persisted && reload());

/** @typedef {{room: string, text: string}} Unsent */

/**
 * @param {string} key
 * @returns {Unsent[]}
 */
function unsentIn(key) {
  const [kind] = key.split(':', 1);
  const [room] = key.slice(`${kind}:${user}:`.length).split(':', 1);
  const kept = storage.readObject(key);
  if (kind === 'draft') return [...written(room, kept?.draft), ...written(room, kept?.edit?.message)];
  if (kind !== 'outbox' || !kept?.command) return [];
  const { message, reason, emoji } = kept.command;
  return [{ room, text: message ?? reason ?? emoji ?? '' }];
}

/**
 * @param {string} room
 * @param {string | null | undefined} text
 * @returns {Unsent[]} empty for a text that could not be sent
 */
function written(room, text) {
  return text?.trim() ? [{ room, text }] : [];
}

/** @param {Unsent} unsent */
function itemOf({ room, text }) {
  const link = document.createElement('a');
  link.href = `/chat/room/${room}/`;
  link.dir = 'auto';
  link.textContent = cut(text, EXCERPT);
  const item = document.createElement('li');
  item.append(link);
  return item;
}
