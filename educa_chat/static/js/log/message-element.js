import { el } from '../dom.js';
import { avatar } from '../names.js';
import { contentOf } from '../content.js';
import { exactTimeOf, timeOf } from '../dates.js';
import { excerptOf } from '../excerpt.js';
import { chipsOf } from '../reactions/chips.js';
import { text } from '../strings.js';

let made = 0;

/**
 * @param {ShownMessage} message
 * @param {MessageContext} context
 * @returns {HTMLElement}
 */
export function messageElement(message, context) {
  const isOwn = message.own;
  const head = headOf(message);
  const body = bodyOf(message, context);
  if (message.mentions?.length || message.mentions_all) {
    context.mentions.mark(body, message);
  }
  if (body.querySelector('pre')) {
    import('./code-blocks.js').then(({ addCodeHeads }) => addCodeHeads(element, body, message.message), () => {});
  }
  // Only messages with formulas need this one.
  if (body.querySelector('math')) import('../formulas/copy.js').catch(() => {});
  const foot = footOf(message, context);
  const element = el('article', `message ${isOwn ? 'me' : 'other'}`);
  if (message.state) element.classList.add(message.state);
  if (message.deleted) element.classList.add('deleted');
  if (!isOwn) element.append(avatar(message));
  element.append(head, body);
  if (foot.hasChildNodes()) element.append(foot);
  if (isOpenQuestion(message, context)) element.classList.add('unanswered');
  if (message.state) element.append(noteOf(message));
  // A screen reader reads the whole message when it gets the focus.
  made += 1;
  head.id = `head-${made}`;
  body.id = `body-${made}`;
  foot.id = `foot-${made}`;
  element.setAttribute('aria-labelledby', `${head.id} ${body.id} ${foot.id}`);
  setTabIndex(element, -1);
  return element;
}

/**
 * @param {HTMLElement} message
 * @param {0 | -1} tabIndex  of the message and of its focusable elements
 */
export function setTabIndex(message, tabIndex) {
  message.tabIndex = tabIndex;
  // Scrollable elements are focusable by themselves, even in messages far above.
  for (const one of message.querySelectorAll('.body :is(pre, table, p, ul, ol)')) {
    if (tabIndex) one.setAttribute('tabindex', '-1');
    else one.removeAttribute('tabindex');
  }
  for (const one of message.querySelectorAll('a, .quote, .chip, .expand, .code-head button')) /** @type {HTMLElement} */ (one).tabIndex = tabIndex;
}

/** @param {ShownMessage} message */
function headOf({ name, role, datetime, own, anonymous, pseudonym }) {
  const author = el('strong');
  author.append(el('bdi', '', name));
  const time = el('time', 'date', timeOf(datetime));
  time.dateTime = datetime;
  time.title = exactTimeOf(datetime);
  const head = el('header', 'head');
  head.append(author);
  if (role !== 'student') head.append(el('span', 'badge', text(`message.${role}`)));
  if (anonymous) {
    const words = own ? text('message.anonymous_you') : pseudonym ? text('message.anonymous_as', { name: pseudonym }) : text('message.anonymous');
    head.append(el('span', 'badge anonymous', words));
  }
  head.append(time);
  return head;
}

/**
 * @param {ShownMessage} message
 * @param {MessageContext} context
 */
function bodyOf(message, context) {
  const body = el('div', 'body');
  body.dir = 'auto';
  if (message.deleted) {
    body.append(text('message.deleted'));
    return body;
  }
  if (message.reply_to) body.append(quoteOf(message.reply_to, context));
  body.append(contentOf(message.html, message.message));
  if (message.edited) body.append(' ', el('span', 'edited', text('message.edited')));
  return body;
}

/**
 * The quote above a reply. It links to the original message.
 *
 * @param {number} seq
 * @param {MessageContext} context
 */
function quoteOf(seq, { target, mentions }) {
  const quote = el('button', 'quote');
  quote.type = 'button';
  quote.dataset.action = 'show';
  quote.dataset.value = String(seq);
  if (!target) {
    quote.append(text('message.reply_to_earlier'));
    return quote;
  }
  quote.append(el('span', 'unseen', text('message.reply', { name: target.name })));
  const name = el('bdi', 'quote-name', target.name);
  name.ariaHidden = 'true';
  quote.append(name, ' ', el('bdi', '', excerptOf(target, mentions)));
  return quote;
}

/**
 * The marks and reactions below a message.
 *
 * @param {ShownMessage} message
 * @param {MessageContext} context
 */
function footOf(message, context) {
  const foot = el('div', 'foot');
  if (message.deleted) return foot;
  const marks = {
    question: message.question && !context.isAnswered,
    answered: message.question && context.isAnswered,
    answer: message.answered,
    endorsed: message.endorsed,
    pinned: message.pinned,
    reported: context.isReported,
  };
  for (const [mark, isOn] of Object.entries(marks)) {
    if (isOn) foot.append(el('span', `mark ${mark}`, text(`mark.${mark}`)));
  }
  foot.append(...chipsOf(message, context));
  return foot;
}

/**
 * @param {ShownMessage} message
 * @param {MessageContext} context
 */
function isOpenQuestion({ question, deleted }, { isAnswered }) {
  return question && !deleted && !isAnswered;
}

/** @param {ShownMessage} message */
function noteOf({ state, note = '' }) {
  const footer = el('footer', 'note');
  const line = el('span', note ? '' : 'unseen', note || text('message.pending'));
  footer.append(line);
  if (state === 'failed') {
    line.role = 'alert';
    for (const action of ['retry', 'copy', 'discard']) {
      const button = el('button', 'quiet', text(`message.${action}`));
      button.type = 'button';
      button.dataset.action = action;
      footer.append(button);
    }
  }
  return footer;
}
