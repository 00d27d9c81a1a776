/** Shows the times on a page, which the server sends in UTC, in the reader's time zone and language. */

import { locale } from './locale.js';

const format = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'short' });
const exactFormat = new Intl.DateTimeFormat(locale, { dateStyle: 'full', timeStyle: 'long' });

for (const time of document.querySelectorAll('time')) {
  const moment = new Date(time.dateTime);
  time.textContent = format.format(moment);
  time.title = exactFormat.format(moment);
}
