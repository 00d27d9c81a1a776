/** The session of a page that a learning platform embeds in a browser that drops our cookies: the page keeps it. */

import { pageData } from './dom.js';
import { SUBPROTOCOL } from './protocol.js';

const SESSION_SUBPROTOCOL = 'educa-chat.session.';

/** @type {string} empty if the browser has a cookie */
const session = document.getElementById('embedded-session') ? pageData('embedded-session') : '';

/** @returns {Record<string, string>} the headers of each request */
export function sessionHeaders() {
  return session ? { Authorization: `Bearer ${session}` } : {};
}

/** @returns {string[]} the subprotocols that the socket asks for */
export function subprotocols() {
  return session ? [SUBPROTOCOL, SESSION_SUBPROTOCOL + session] : [SUBPROTOCOL];
}

/** Loads the page again. */
export function reload() {
  // The browser would ask whether to post the page again.
  if (session) location.replace(location.pathname);
  else location.reload();
}
