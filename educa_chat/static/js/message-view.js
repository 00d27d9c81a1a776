/** @import { Message } from './protocol.js' */

import { contentOf } from './content.js';
import { exactTimeOf, timeOf } from './dates.js';
import { chipsOf } from './reactions.js';
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
 * @typedef {object} Around  What a message's look takes besides the message.
 * @property {string} reader
 * @property {(user: string) => string} nameOf
 * @property {ShownMessage} [target]  the message that it replies to, where that is shown
 * @property {boolean} isAnswered  by a reply that is shown
 * @property {boolean} isReported  and the reader is one to know it
 */

/**
 * @param {ShownMessage} message
 * @param {Around} around
 * @returns {HTMLElement}
 */
export function messageElement(message, around) {
  const isOwn = message.own;
  const head = headOf(message);
  const body = bodyOf(message, around.target);
  if (message.mentions?.length || message.mentions_all) {
    // Who mentions nobody need not wait for what marks it.
    import('./mentions/marks.js').then(({ markMentions }) => markMentions(body, message, around.reader), () => {});
  }
  const foot = footOf(message, around);
  const element = make('article', `message ${isOwn ? 'me' : 'other'}`);
  if (message.state) element.classList.add(message.state);
  if (message.deleted) element.classList.add('deleted');
  if (!isOwn) element.append(discOf(message));
  element.append(head, body);
  if (foot.hasChildNodes()) element.append(foot);
  if (isOpenQuestion(message, around)) element.classList.add('unanswered');
  if (message.state) element.append(noteOf(message));
  // A message that gets the focus is read out as a whole.
  made += 1;
  head.id = `head-${made}`;
  body.id = `body-${made}`;
  foot.id = `foot-${made}`;
  element.setAttribute('aria-labelledby', `${head.id} ${body.id} ${foot.id}`);
  reach(element, -1);
  return element;
}

/**
 * @param {HTMLElement} message
 * @param {0 | -1} tabIndex  of the message and of what in it takes the focus
 */
export function reach(message, tabIndex) {
  message.tabIndex = tabIndex;
  for (const one of message.querySelectorAll('a, .quote, .chip')) /** @type {HTMLElement} */ (one).tabIndex = tabIndex;
}

/** @param {ShownMessage} message */
function headOf({ name, role, datetime, own, anonymous, pseudonym }) {
  const author = make('strong');
  author.append(make('bdi', '', name));
  const time = make('time', 'date', timeOf(datetime));
  time.dateTime = datetime;
  time.title = exactTimeOf(datetime);
  const head = make('header', 'head');
  head.append(author);
  if (role === 'instructor') head.append(make('span', 'badge', text('message.instructor')));
  if (anonymous) {
    const words = own ? text('message.anonymous_you') : pseudonym ? text('message.anonymous_as', { name: pseudonym }) : text('message.anonymous');
    head.append(make('span', 'badge anonymous', words));
  }
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
  if (message.reply_to) body.append(quoteOf(message.reply_to, target));
  body.append(contentOf(message.html, message.message));
  if (message.edited) body.append(' ', make('span', 'edited', text('message.edited')));
  return body;
}

/**
 * The head of the message that is replied to, which leads there.
 *
 * @param {number} seq
 * @param {ShownMessage | undefined} target
 */
function quoteOf(seq, target) {
  const quote = make('button', 'quote');
  quote.type = 'button';
  quote.dataset.action = 'show';
  quote.dataset.value = String(seq);
  if (!target) {
    quote.append(text('message.reply_to_earlier'));
    return quote;
  }
  quote.append(make('span', 'unseen', text('message.reply', { name: target.name })));
  const name = make('bdi', 'quote-name', target.name);
  name.ariaHidden = 'true';
  quote.append(name, ' ', make('bdi', '', target.deleted ? text('message.deleted') : excerptOf(target.message)));
  return quote;
}

/** @param {string} message */
export function excerptOf(message) {
  return [...message.slice(0, 2 * EXCERPT)].slice(0, EXCERPT).join('').replace(/\s+/g, ' ');
}

/**
 * What has become of it, and what others think of it.
 *
 * @param {ShownMessage} message
 * @param {Around} around
 */
function footOf(message, around) {
  const foot = make('div', 'foot');
  if (message.deleted) return foot;
  const marks = {
    question: message.question && !around.isAnswered,
    answered: message.question && around.isAnswered,
    answer: message.answered,
    endorsed: message.endorsed,
    pinned: message.pinned,
    reported: around.isReported,
  };
  for (const [mark, isOn] of Object.entries(marks)) {
    if (isOn) foot.append(make('span', `mark ${mark}`, text(`mark.${mark}`)));
  }
  foot.append(...chipsOf(message, around));
  return foot;
}

/**
 * @param {ShownMessage} message
 * @param {Around} around
 */
function isOpenQuestion({ question, deleted }, { isAnswered }) {
  return question && !deleted && !isAnswered;
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

/** @param {{user: string, name: string}} person */
export function discOf({ user, name }) {
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
