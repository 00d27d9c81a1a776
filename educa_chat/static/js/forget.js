/** Deletes the data of a user who signed out before the scripts were loaded. The server names the user in a cookie. */

import * as storage from './storage.js';

const user = document.cookie.match(/(?:^|; )educa_chat_signed_out=(\d+)/)?.[1];
if (user) {
  for (const key of storage.keysOfUser(user)) storage.remove(key);
  document.cookie = 'educa_chat_signed_out=; Path=/; Max-Age=0';
}
