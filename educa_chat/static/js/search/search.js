/** @import { RecentEvents } from '../recent-events.js' */

import { byId, el } from '../dom.js';
import { dayOf, exactTimeOf, timeOf } from '../dates.js';
import { ApiRefusal, loadPage } from '../history.js';
import { changed } from '../message-state.js';
import { plainOf } from '../excerpt.js';
import { excerptAround } from './excerpt.js';
import { locale, plural, text } from '../strings.js';

const TYPING_PAUSE_MS = 250;

/** The search in the room: the field, the results, and the links to them. */
export class Search {
  #button = byId('search-button');
  #form = byId('search');
  #input = /** @type {HTMLInputElement} */ (byId('search-input'));
  #told = byId('search-told');
  #results = byId('search-results');
  /** @type {AbortController | undefined} the current request */
  #asked;
  /** The search that starts when the user stops typing, or when the server accepts another one. @type {number | undefined} */
  #next;
  /** @type {ShownMessage[]} */
  #found = [];
  /** Whether there are, or may be, further results. */
  #hasMore = false;
  #words = '';

  #room;
  #recent;
  #mentions;
  #onChoice;

  /**
   * @param {object} how
   * @param {number | string} how.room
   * @param {RecentEvents} how.recent
   * @param {MentionNames} how.mentions
   * @param {(seq: number) => void} how.onChoice  opens the message
   */
  constructor({ room, recent, mentions, onChoice }) {
    this.#room = room;
    this.#recent = recent;
    this.#mentions = mentions;
    this.#onChoice = onChoice;
    byId('search-close').addEventListener('click', () => this.#close());
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#find();
    });
    for (const type of ['input', 'compositionend']) this.#input.addEventListener(type, (event) => this.#typed(event));
    this.#form.addEventListener('keydown', (event) => this.#key(event));
    this.#results.addEventListener('click', (event) => this.#choose(event.target));
    this.#results.addEventListener('focusin', (event) => this.#makeReachable(event.target));
  }

  toggle() {
    if (!this.#form.hidden) return this.#close();
    this.#show(true);
    this.#input.focus();
    this.#input.select();
    if (!this.#input.value) this.#told.textContent = text('search.hint');
  }

  /**
   * Updates the results: deleted messages disappear, and edited ones show their new text.
   *
   * @param {Frame} event
   */
  apply(event) {
    const index = this.#found.findIndex(({ seq }) => seq === event.target);
    if (index < 0) return;
    const message = changed(this.#found[index], event);
    const item = this.#results.children[index];
    const hadFocus = item.contains(document.activeElement);
    if (message.deleted) {
      this.#found.splice(index, 1);
      item.remove();
      this.#told.textContent = summaryOf(this.#found.length, this.#hasMore);
    } else if (message.message !== this.#found[index].message) {
      this.#found[index] = message;
      item.replaceWith(resultOf(message, this.#words, this.#mentions));
    } else {
      this.#found[index] = message;
      return;
    }
    const neighbour = this.#buttons()[Math.min(index, this.#found.length - 1)];
    this.#makeReachable(neighbour);
    if (hadFocus) (neighbour ?? this.#input).focus();
  }

  /** Shows names that have become known. */
  renderNames() {
    for (const [index, { mentions }] of this.#found.entries()) {
      if (!mentions?.length) continue;
      const body = resultOf(this.#found[index], this.#words, this.#mentions).querySelector('.found-body');
      if (body) this.#results.children[index].querySelector('.found-body')?.replaceWith(body);
    }
  }

  /** The room has another history: removes the results from the old one. */
  forget() {
    this.#cancel();
    this.#showResults([], '', text('search.hint'));
  }

  /** @param {Event} event  of the field */
  #typed(event) {
    // An input method composes a word from several keys.
    if (/** @type {InputEvent} */ (event).isComposing) return;
    this.#cancel();
    this.#next = setTimeout(() => this.#find(), TYPING_PAUSE_MS);
  }

  /** Ignores an answer that hasn't arrived yet. */
  #cancel() {
    clearTimeout(this.#next);
    this.#asked?.abort();
  }

  #close() {
    this.#cancel();
    this.#show(false);
    this.#button.focus();
  }

  /** @param {boolean} isOpen */
  #show(isOpen) {
    this.#form.hidden = !isOpen;
    this.#button.ariaExpanded = String(isOpen);
  }

  async #find() {
    this.#cancel();
    // A space at the end says that the last word is complete.
    const words = this.#input.value.trimStart();
    if (!words) return this.#showResults([], words, text('search.hint'));
    const asked = new AbortController();
    this.#asked = asked;
    this.#told.textContent = text('search.searching');
    try {
      const page = await findMessages(this.#room, words, asked.signal);
      if (asked.signal.aborted) return;
      const messages = this.#recent.upToDate(page).filter(({ deleted }) => !deleted);
      this.#hasMore = page.more;
      this.#showResults(messages, words, summaryOf(messages.length, page.more));
    } catch (error) {
      if (asked.signal.aborted) return;
      const isTooMuch = error instanceof ApiRefusal && error.status === 429;
      this.#showResults([], words, text(isTooMuch ? 'search.too_many' : 'search.failed'));
      if (isTooMuch) this.#next = setTimeout(() => this.#find(), error.retryAfter || TYPING_PAUSE_MS);
    }
  }

  /**
   * @param {ShownMessage[]} messages
   * @param {string} words
   * @param {string} summary
   */
  #showResults(messages, words, summary) {
    this.#found = messages;
    this.#words = words;
    this.#told.textContent = summary;
    this.#results.replaceChildren(...messages.map((message) => resultOf(message, words, this.#mentions)));
    this.#results.scrollTop = 0;
    this.#makeReachable(this.#buttons()[0]);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === 'Escape' && !event.isComposing) {
      event.preventDefault();
      return this.#close();
    }
    const buttons = this.#buttons();
    const place = buttons.findIndex((button) => button === document.activeElement);
    const isInList = place >= 0;
    if (!isInList && document.activeElement !== this.#input) return;
    const goal = {
      ArrowDown: buttons[place + 1],
      ArrowUp: isInList ? buttons[place - 1] ?? this.#input : undefined,
      Home: isInList ? buttons[0] : undefined,
      End: isInList ? buttons.at(-1) : undefined,
    }[event.key];
    if (!goal) return;
    event.preventDefault();
    goal.focus();
  }

  /** @param {EventTarget | null} target */
  #choose(target) {
    const button = buttonOf(target);
    if (!button) return;
    // Close first, because only a visible element can get the focus.
    this.#close();
    this.#onChoice(Number(button.dataset.seq));
  }

  #buttons() {
    return [...this.#results.querySelectorAll('button')];
  }

  /**
   * Tab moves to one result, and the arrow keys to the others.
   *
   * @param {EventTarget | null | undefined} target
   */
  #makeReachable(target) {
    const reached = buttonOf(target);
    if (!reached) return;
    for (const button of this.#buttons()) button.tabIndex = button === reached ? 0 : -1;
  }
}

/**
 * @param {number} count
 * @param {boolean} more
 */
function summaryOf(count, more) {
  if (!count) return text(more ? 'search.none_near' : 'search.none');
  return more ? text('search.best', { count: count.toLocaleString(locale) }) : plural('search.found', count);
}

/** @param {EventTarget | null | undefined} target */
function buttonOf(target) {
  return target instanceof Element ? target.closest('button') : null;
}

/**
 * @param {ShownMessage} message
 * @param {string} words
 * @param {MentionNames} mentions
 */
function resultOf(message, words, mentions) {
  const { seq, name, role, datetime } = message;
  const author = el('strong');
  author.append(el('bdi', '', name));
  const time = el('time', 'date', `${dayOf(datetime)}, ${timeOf(datetime)}`);
  time.dateTime = datetime;
  time.title = exactTimeOf(datetime);
  const head = el('span', 'found-head');
  head.append(author);
  if (role !== 'student') head.append(el('span', 'badge', text(`message.${role}`)));
  head.append(time);
  const body = el('span', 'found-body');
  body.dir = 'auto';
  body.append(...excerptAround(plainOf(message, mentions), words).map(({ text: part, isMatch }) => (isMatch ? el('mark', '', part) : part)));
  const button = el('button', 'found');
  button.type = 'button';
  button.dataset.seq = String(seq);
  button.append(head, body);
  const item = el('li');
  item.append(button);
  return item;
}

/**
 * Finds messages of a room, the best first.
 *
 * @param {number | string} room
 * @param {string} words
 * @param {AbortSignal} signal  aborts the request
 * @returns {Promise<Page>}
 * @throws {ApiRefusal} and what `fetch` throws without a connection
 */
function findMessages(room, words, signal) {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return loadPage(`/chat/api/rooms/${room}/search?${new URLSearchParams({ q: words, zone })}`, signal);
}
