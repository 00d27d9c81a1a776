/** @import { Message } from './protocol.js' */

import { contentOf } from './content.js';
import { exactTimeOf, timeOf } from './dates.js';
import { text } from './strings.js';

const DISCS = 8;
const EXCERPT = 120;

/**
 * A message on the page: stored, or on its way (`seq` is 0 then).
 *
 * @typedef {Omit<Message, 'seq'> & {
 *   seq: number,
 *   state?: 'pending' | 'failed',
 *   note?: string,
 * }} ShownMessage
 */

let made = 0;

/**
 * @param {ShownMessage} message
 * @param {{isOwn: boolean, target?: ShownMessage}} around  `target` is the message that it replies to
 * @returns {HTMLElement}
 */
export function messageElement(message, { isOwn, target }) {
  const head = headOf(message);
  const body = bodyOf(message, target);
  const element = make('article', `message ${isOwn ? 'me' : 'other'}`);
  if (message.state) element.classList.add(message.state);
  if (message.deleted) element.classList.add('deleted');
  if (!isOwn) element.append(discOf(message));
  element.append(head, body);
  if (message.state) element.append(noteOf(message));
  element.tabIndex = -1;
  // A message that gets the focus is read out as a whole.
  made += 1;
  head.id = `head-${made}`;
  body.id = `body-${made}`;
  element.setAttribute('aria-labelledby', `${head.id} ${body.id}`);
  for (const link of element.querySelectorAll('a')) link.tabIndex = -1;
  return element;
}

/** @param {ShownMessage} message */
function headOf({ name, role, datetime }) {
  const author = make('strong');
  author.append(make('bdi', '', name));
  const time = make('time', 'date', timeOf(datetime));
  time.dateTime = datetime;
  time.title = exactTimeOf(datetime);
  const head = make('header', 'head');
  head.append(author);
  if (role === 'instructor') head.append(make('span', 'badge', text('message.instructor')));
  head.append(time);
  return head;
}

/**
 * @param {ShownMessage} message
 * @param {ShownMessage | undefined} target
 */
function bodyOf(message, target) {
  const body = make('div', 'body');
  body.dir = 'auto';
  if (message.deleted) {
    body.append(text('message.deleted'));
    return body;
  }
  if (target) body.append(quoteOf(target));
  body.append(contentOf(message.html, message.message));
  if (message.edited) body.append(' ', make('span', 'edited', text('message.edited')));
  return body;
}

/** @param {ShownMessage} target */
function quoteOf(target) {
  const quote = make('span', 'quote');
  quote.append(make('span', 'unseen', text('message.reply', { name: target.name })));
  const name = make('bdi', 'quote-name', target.name);
  name.ariaHidden = 'true';
  quote.append(name, ' ', make('bdi', '', target.deleted ? text('message.deleted') : excerptOf(target.message)));
  return quote;
}

/** @param {string} message */
function excerptOf(message) {
  return [...message.slice(0, 2 * EXCERPT)].slice(0, EXCERPT).join('').replace(/\s+/g, ' ');
}

/** @param {ShownMessage} message */
function noteOf({ state, note = '' }) {
  const footer = make('footer', 'note');
  const line = make('span', note ? '' : 'unseen', note || text('message.pending'));
  footer.append(line);
  if (state === 'failed') {
    line.role = 'alert';
    for (const action of ['retry', 'copy', 'discard']) {
      const button = make('button', 'quiet', text(`message.${action}`));
      button.type = 'button';
      button.dataset.action = action;
      footer.append(button);
    }
  }
  return footer;
}

/** @param {ShownMessage} message */
function discOf({ user, name }) {
  const disc = make('span', `avatar disc-${hash(user) % DISCS}`, initialsOf(name));
  disc.ariaHidden = 'true';
  return disc;
}

/** @param {string} name */
function initialsOf(name) {
  const words = name.split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return letters.map((word) => word.match(/[\p{L}\p{N}]/u)?.[0] ?? '').join('').toLocaleUpperCase() || '?';
}

/** @param {string} word */
function hash(word) {
  let value = 0;
  for (const character of word) value = (Math.imul(value, 31) + (character.codePointAt(0) ?? 0)) >>> 0;
  return value;
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [className]
 * @param {string} [content]
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, className = '', content = '') {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = content;
  return element;
}
