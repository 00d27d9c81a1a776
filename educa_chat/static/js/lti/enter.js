/** Enters the room with the session that the launch put into the address, or that the page has kept since. */

import { byId } from '../dom.js';
import { keep, kept } from './keeping.js';

const SESSION = 'session';

const form = /** @type {HTMLFormElement} */ (byId('lti-enter-form'));
const session = location.hash.slice(1) || kept(SESSION);
history.replaceState(null, '', location.pathname);
if (session) {
  keep(SESSION, session);
  /** @type {HTMLInputElement} */ (form.elements.namedItem('session')).value = session;
  form.submit();
} else {
  byId('lti-opening').hidden = true;
  byId('lti-lost').hidden = false;
}
