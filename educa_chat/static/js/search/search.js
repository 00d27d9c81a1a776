import { byId, el } from '../dom.js';
import { dayOf, exactTimeOf, timeOf } from '../dates.js';
import { ApiRefusal, loadPage } from '../history.js';
import { excerptAround } from './excerpt.js';
import { locale, plural, text } from '../strings.js';

/** The search in the room: what is asked for, what was found, and the way to each of them. */
export class Search {
  #button = byId('search-button');
  #form = byId('search');
  #input = /** @type {HTMLInputElement} */ (byId('search-input'));
  #told = byId('search-told');
  #results = byId('search-results');
  /** @type {AbortController | undefined} the question that waits for its answer */
  #asked;

  #room;
  #onChoice;

  /**
   * @param {object} how
   * @param {number | string} how.room
   * @param {(seq: number) => void} how.onChoice  leads to the message
   */
  constructor({ room, onChoice }) {
    this.#room = room;
    this.#onChoice = onChoice;
    byId('search-close').addEventListener('click', () => this.#close());
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#find(this.#input.value.trim());
    });
    this.#form.addEventListener('keydown', (event) => this.#key(event));
    this.#results.addEventListener('click', (event) => this.#choose(event.target));
    this.#results.addEventListener('focusin', (event) => this.#makeReachable(event.target));
  }

  toggle() {
    if (!this.#form.hidden) return this.#close();
    this.#show(true);
    this.#input.focus();
    this.#input.select();
  }

  #close() {
    this.#asked?.abort();
    this.#show(false);
    this.#button.focus();
  }

  /** @param {boolean} isOpen */
  #show(isOpen) {
    this.#form.hidden = !isOpen;
    this.#button.ariaExpanded = String(isOpen);
  }

  /** @param {string} words */
  async #find(words) {
    this.#asked?.abort();
    if (!words) return this.#showResults([], words, '');
    const asked = new AbortController();
    this.#asked = asked;
    this.#told.textContent = text('search.searching');
    try {
      const { messages, more } = await findMessages(this.#room, words, asked.signal);
      if (!asked.signal.aborted) this.#showResults(messages, words, summaryOf(messages.length, more));
    } catch (error) {
      if (asked.signal.aborted) return;
      const isTooMuch = error instanceof ApiRefusal && error.status === 429;
      this.#showResults([], words, text(isTooMuch ? 'search.too_many' : 'search.failed'));
    }
  }

  /**
   * @param {Message[]} messages
   * @param {string} words
   * @param {string} summary
   */
  #showResults(messages, words, summary) {
    this.#told.textContent = summary;
    this.#results.replaceChildren(...messages.map((message) => resultOf(message, words)));
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
    // Closed first, for what is to have the focus must be seen.
    this.#close();
    this.#onChoice(Number(button.dataset.seq));
  }

  #buttons() {
    return [...this.#results.querySelectorAll('button')];
  }

  /**
   * Tab leads to one result, and arrows to the others.
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
 * @param {Message} message
 * @param {string} words
 */
function resultOf({ seq, name, role, datetime, message }, words) {
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
  body.append(...excerptAround(message, words).map(({ text: part, isMatch }) => (isMatch ? el('mark', '', part) : part)));
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
 * @param {AbortSignal} signal  nobody waits for the answer any more
 * @returns {Promise<Page>}
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
function findMessages(room, words, signal) {
  return loadPage(`/chat/api/rooms/${room}/search?${new URLSearchParams({ q: words })}`, signal);
}
