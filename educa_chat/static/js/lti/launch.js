/** The launch in an iframe whose cookies the browser drops: sends the secret that the login page has kept. */

import { byId, pageData } from '../dom.js';
import { askPlatform, drop, kept } from './keeping.js';

/** @type {{id: string, storage_target: string}} */
const launch = pageData('lti-launch');
const form = /** @type {HTMLFormElement} */ (byId('lti-launch-form'));

const secret = kept(launch.id) ?? (await askPlatform(launch.storage_target, 'lti.get_data', { key: launch.id }));
drop(launch.id);
/** @type {HTMLInputElement} */ (form.elements.namedItem('secret')).value = secret ?? '';
form.submit();
