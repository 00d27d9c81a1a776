import { buttonEl, byId, el } from './dom.js';
import * as storage from './storage.js';
import { text } from './strings.js';

/**
 * Removes the room from the page, because from now on nobody using this browser may see it. Code that is still running
 * changes only elements that are no longer in the page.
 *
 * @param {object} session
 * @param {string} session.storageKey  of the user and the room
 * @param {string} session.signInUrl
 * @param {boolean} session.isForUser  whether the page may still show the user's unsent text
 */
export function endSession({ storageKey, signInUrl, isForUser }) {
  storage.close();
  const label = byId('chat-message-input').ariaLabel ?? '';
  for (const part of document.querySelectorAll('.room > :not(.room-header), .sidebar-rooms .unread')) part.remove();
  if (!isForUser) return byId('sign-out').remove();
  const log = el('div');
  log.id = 'chat';
  log.append(el('div', 'log-top'));
  const part = el('div', 'room-log');
  part.append(log);
  document.querySelector('.room')?.append(part);
  showUnsent(log, { storageKey, label, signInUrl });
}

/**
 * @param {HTMLElement} log
 * @param {{storageKey: string, label: string, signInUrl: string}} session
 */
async function showUnsent(log, session) {
  const module = await import('./account/ended.js').catch(() => null);
  if (module) return module.showUnsent(log, session);
  const failure = el('p', 'alert', text('part.failed'));
  const retry = buttonEl('quiet', text('message.retry'));
  retry.addEventListener('click', () => {
    failure.remove();
    showUnsent(log, session);
  });
  failure.role = 'alert';
  failure.append(' ', retry);
  log.append(failure);
}
