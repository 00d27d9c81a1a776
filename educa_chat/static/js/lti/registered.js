/** The end of a registration: the platform closes this page (Dynamic Registration 1.0 §3.7). */

import { byId } from '../dom.js';

byId('lti-close').addEventListener('click', () => {
  (window.opener ?? parent).postMessage({ subject: 'org.imsglobal.lti.close' }, '*');
});
