/** The login in an iframe: finds a place where the browser keeps the secret of the login, and goes to the platform. */

import { byId, pageData } from '../dom.js';
import { askPlatform, keep } from './keeping.js';

/** @type {{url: string, id: string, secret: string, cookie_url: string, storage_target: string}} */
const login = pageData('lti-login');

if ((await hasCookie()) || (await isKept())) {
  location.replace(login.url);
} else {
  byId('lti-opening').hidden = true;
  byId('lti-window').hidden = false;
}

async function hasCookie() {
  try {
    const response = await fetch(login.cookie_url, { cache: 'no-store' });
    return (await response.json()).cookie === true;
  } catch {
    return false;
  }
}

async function isKept() {
  // In both places: now and then, Firefox loses what a frame has stored just before it leaves.
  const isWithPlatform = isKeptByPlatform();
  return keep(login.id, login.secret) || isWithPlatform;
}

async function isKeptByPlatform() {
  const value = await askPlatform(login.storage_target, 'lti.put_data', { key: login.id, value: login.secret });
  return value === login.secret;
}
