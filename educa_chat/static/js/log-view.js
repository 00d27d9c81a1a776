/** @import { Around, ShownMessage } from './message-view.js' */
/** @import { Frame } from './protocol.js' */

import { Announcer } from './announcer.js';
import { dayOf, isSameDay, untilMidnight } from './dates.js';
import { make, messageElement, reach } from './message-view.js';
import { byId } from './page-data.js';
import { ReadingPlace } from './reading-place.js';
import { plural, text } from './strings.js';

const GROUP_WITHIN = 5 * 60_000;
const ABOVE_LINE = 16;
const SHOWN_FOR = 2000;
/** How many pixels before an end more is asked for, and how far from the reader a message is at least that is let go. */
const NEAR = 1200;
/** With more rows than MOST, all but ENOUGH are let go. */
const MOST = 250;
const ENOUGH = 200;
/** What is selected stays, up to so many rows. */
const MOST_WITH_SELECTION = 1000;

/**
 * @typedef {object} Row  A message and what stands for it on the page.
 * @property {ShownMessage} message
 * @property {HTMLElement} element
 * @property {HTMLElement} [divider]  in front of the first message of a day
 *
 * @typedef {{seq: number, offset: number}} Place  A message, and how far below the upper edge it is shown.
 */

/**
 * The log on the page: stored messages in their order, then those on their way. The order of the elements is the only
 * record of the order of the rows.
 */
export class LogView {
  #log = byId('chat');
  #top = /** @type {HTMLElement} */ (this.#log.querySelector('.log-top'));
  #beginning = byId('beginning');
  #olderRetry = byId('older-retry');
  #toNewest = byId('to-newest');
  #announcer = new Announcer();
  #place = new ReadingPlace(this.#log, { isWhole: () => !this.#endsEarly, onLook: (below) => this.#looked(below) });

  /** @type {Map<HTMLElement, Row>} */
  #rows = new Map();
  /** @type {Map<number, Row>} */
  #stored = new Map();
  /** @type {Map<string, Row>} by the id of the message */
  #unstored = new Map();
  /** @type {Map<number, {event: Frame, element: HTMLElement}>} by seq: what stands between the messages */
  #lines = new Map();
  /** @type {Row | undefined} the one that Tab leads to */
  #reachable;

  /** Above the first message of others behind a seq. */
  #line = lineElement();
  #lineAfter = Infinity;
  /** @type {Row | undefined} the one below the line; undefined: there is no line */
  #belowLine;

  /** Whether messages are missing behind the last one that is shown: the reader is far back. */
  #endsEarly = false;
  /** Whether the reader's coming near that end is to be told. */
  #watchesEnd = false;

  /** Whether only questions are shown that nobody has answered. */
  #ofQuestions = false;
  #unseen = 0;
  /** @type {ShownMessage | undefined} the reader's last one, though it may have been let go */
  #lastOwn;

  #own;
  #nameOf;
  #wordsOn;
  #isReported;
  #expected;
  #originals;
  #onEnd;
  #onNewest;
  #onAction;
  #onBottom;
  #topWatch;

  /**
   * @param {object} reader
   * @param {string} reader.user
   * @param {(user: string) => string} reader.nameOf
   * @param {(event: Frame) => string} reader.wordsOn  an event that stands between the messages
   * @param {(seq: number) => boolean} reader.isReported
   * @param {(message: ShownMessage) => ShownMessage} reader.expected  as it will stand when what waits is stored
   * @param {{of: (seq: number) => ShownMessage | undefined, learn: (message: ShownMessage) => void}} reader.originals  of
   *     replies, where they are not shown
   * @param {() => void} reader.onTop  the reader nears the oldest message
   * @param {() => void} reader.onEnd  the reader nears the last message, and there are newer ones
   * @param {() => void} reader.onNewest  the reader wants the newest messages, and they are not shown
   * @param {() => void} reader.onBottom  the reader has come to the newest message
   * @param {(action: string, message: ShownMessage, button: HTMLButtonElement) => void} reader.onAction
   */
  constructor({ user, nameOf, wordsOn, isReported, expected, originals, onTop, onEnd, onNewest, onBottom, onAction }) {
    this.#own = user;
    this.#nameOf = nameOf;
    this.#wordsOn = wordsOn;
    this.#isReported = isReported;
    this.#expected = expected;
    this.#originals = originals;
    this.#onEnd = onEnd;
    this.#onNewest = onNewest;
    this.#onAction = onAction;
    this.#onBottom = onBottom;
    this.#log.addEventListener('keydown', (event) => this.#move(event));
    this.#log.addEventListener('focusin', (event) => this.#makeReachable(this.#rowOf(event.target)));
    this.#log.addEventListener('click', (event) => this.#act(event));
    this.#toNewest.addEventListener('click', () => (this.#endsEarly ? this.#onNewest() : this.#goDown()));
    this.#olderRetry.addEventListener('click', () => this.watchTop());
    this.#topWatch = new IntersectionObserver(
      (entries) => {
        if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
        this.#topWatch.disconnect();
        onTop();
      },
      { root: this.#log, rootMargin: `${NEAR}px 0px 0px` },
    );
    this.#renameDaysAtMidnight();
  }

  /** The seq of the oldest message that is shown. */
  get oldest() {
    const [first] = this.#stored.keys();
    return first;
  }

  /** The seq of the newest stored message that is shown. */
  get newest() {
    return [...this.#stored.keys()].at(-1);
  }

  /** Whether newer messages are missing, and with them those on their way. */
  get endsEarly() {
    return this.#endsEarly;
  }

  /** Whether the newest message is in view, and with it all that came before it. */
  get isAtBottom() {
    return this.#place.isAtBottom && !this.#ofQuestions;
  }

  /** @returns {Place | null} where the reader is; null: at the newest */
  get place() {
    const first = this.#place.isAtBottom ? null : this.#place.first;
    const seq = first && this.#rowOf(first.element)?.message.seq;
    return seq ? { seq, offset: first.offset } : null;
  }

  /**
   * @param {number} seq
   * @returns {boolean} whether a question is shown that this may be a reply to
   */
  hasQuestionBefore(seq) {
    return [...this.#stored.values()].some(({ message }) => message.question && message.seq < seq);
  }

  /** @param {number} seq */
  messageAt(seq) {
    return this.#stored.get(seq)?.message;
  }

  /** @param {Element} element */
  messageOf(element) {
    return this.#rowOf(element)?.message;
  }

  /** @returns {ShownMessage | undefined} the reader's last one */
  get lastOwn() {
    return this.#lastOwn;
  }

  /**
   * Shows these messages, the newest, and nothing else.
   *
   * @param {ShownMessage[]} messages
   * @param {boolean} ofQuestions  whether they are those alone that nobody has answered
   */
  replace(messages, ofQuestions) {
    const hadFocus = this.#hasFocus;
    if (!ofQuestions) this.#lastOwn = undefined;
    this.#showOnly(messages, false, ofQuestions);
    this.#goDown(hadFocus);
  }

  /**
   * Shows these messages, which newer ones follow, and nothing else.
   *
   * @param {ShownMessage[]} messages
   */
  replaceWithOlder(messages) {
    this.#showOnly(messages, true, false);
    this.#place.leave();
  }

  /** Asks for newer messages as soon as the reader is near the last one, be it now. */
  watchEnd() {
    this.#watchesEnd = true;
    requestAnimationFrame(() => this.#place.look());
  }

  /**
   * @param {ShownMessage[]} messages  newer ones, the oldest first
   * @param {boolean} areNewest  whether nothing is missing any more
   */
  extend(messages, areNewest) {
    this.#place.keepNow(() => {
      for (const message of messages) this.#insert(message);
      if (!this.#belowLine) this.#placeLine();
      if (areNewest) this.#endsEarly = false;
      this.#letGo();
    });
  }

  /**
   * @param {ShownMessage[]} messages
   * @param {boolean} endsEarly
   * @param {boolean} ofQuestions
   */
  #showOnly(messages, endsEarly, ofQuestions) {
    this.#endsEarly = endsEarly;
    this.#ofQuestions = ofQuestions;
    this.#log.classList.toggle('of-questions', ofQuestions);
    this.#watchesEnd = false;
    while (this.#top.nextElementSibling) this.#top.nextElementSibling.remove();
    for (const rows of [this.#rows, this.#stored, this.#unstored, this.#lines]) rows.clear();
    this.#reachable = this.#belowLine = undefined;
    this.#line.remove();
    for (const message of messages) this.#insert(message);
    this.#placeLine();
    this.#log.ariaBusy = 'false';
  }

  /** @param {ShownMessage[]} messages  older ones, the oldest first */
  prepend(messages) {
    this.#place.keepNow(() => {
      const [first] = this.#stored.values();
      for (const message of messages) this.#insert(message, first ?? this.#firstUnstored());
      this.#sortStored();
      if (this.#belowLine) this.#placeLine();
      this.#letGo();
    });
  }

  /** @param {ShownMessage} message  belongs between those that are shown, or is left out where they do not reach */
  put(message) {
    const rows = [...this.#stored.values()];
    const next = rows.find((row) => row.message.seq > message.seq);
    if (next ? next === rows[0] && this.#beginning.hidden : this.#endsEarly) return;
    this.#place.keep(() => {
      this.#insert(message, next ?? this.#firstUnstored());
      this.#sortStored();
      this.#letGo();
    });
  }

  /** @param {number} seq */
  remove(seq) {
    const row = this.#stored.get(seq);
    if (!row) return;
    this.#place.keep(() => this.#takeOut(row));
  }

  /** @param {ShownMessage} message  has just been stored */
  append(message) {
    // A page of the history has brought it already.
    if (this.#stored.has(message.seq)) return;
    if (!this.#endsEarly) {
      this.#place.keep(() => {
        this.#settle(message);
        this.#letGo();
      });
    }
    if (message.own) return;
    this.#announcer.announce(message);
    if (!this.#place.isAtBottom) this.#unseen += 1;
    this.#showWayDown();
  }

  /** @param {ShownMessage} message  is on its way, or has failed */
  showUnstored(message) {
    if (this.#endsEarly || this.#ofQuestions) return;
    const row = this.#unstored.get(message.id ?? '');
    if (row) {
      row.message = message;
      this.#place.keep(() => this.#render(row));
    } else {
      this.#unstored.set(message.id ?? '', this.#insert(message));
      this.#goDown();
    }
  }

  /** @param {string} id */
  removeUnstored(id) {
    const row = this.#unstored.get(id);
    if (!row) return;
    this.#place.keep(() => this.#takeOut(row));
  }

  /**
   * @param {number} seq
   * @param {(message: ShownMessage) => ShownMessage} [change]  none where only what waits is another
   */
  change(seq, change = (message) => message) {
    if (this.#lastOwn?.seq === seq) this.#lastOwn = change(this.#lastOwn);
    const row = this.#stored.get(seq);
    if (row) row.message = change(row.message);
    this.#place.keep(() => {
      if (row) this.#render(row);
      // Its head stands above its replies, and a question looks as its answers let it look.
      this.#renderWhere((other) => other.reply_to === seq || other.seq === row?.message.reply_to);
    });
  }

  /** @param {number[]} seqs  of which more is known now: their heads stand above their replies */
  renderRepliesTo(seqs) {
    this.#place.keep(() => this.#renderWhere(({ reply_to: target }) => target && seqs.includes(target)));
  }

  /**
   * Draws a line above the first message of others behind `after`; where there is none, nothing is new.
   *
   * @param {number} after
   */
  drawLine(after) {
    this.#lineAfter = after;
    this.#place.keep(() => this.#placeLine());
    if (!this.#belowLine && !this.#endsEarly) this.#unseen = 0;
    this.#showWayDown();
  }

  /** Shows the line, if there is one, and what is new below it. */
  goToLine() {
    if (!this.#belowLine) return;
    this.#place.go(this.#line.offsetTop - ABOVE_LINE);
  }

  /**
   * Leads the reader to a message, and marks it for a moment.
   *
   * @param {number} seq
   * @returns {boolean} false where it is not here
   */
  show(seq) {
    const row = this.#stored.get(seq);
    if (!row) return false;
    const space = this.#log.clientHeight - row.element.offsetHeight;
    this.#place.go(row.element.offsetTop - Math.max(space / 2, 0));
    row.element.focus({ preventScroll: true });
    row.element.classList.add('shown');
    setTimeout(() => row.element.classList.remove('shown'), SHOWN_FOR);
    return true;
  }

  /** @param {Place} place  where the reader has been, which is here */
  returnTo({ seq, offset }) {
    const row = this.#stored.get(seq);
    if (row) this.#place.go(row.element.offsetTop - offset);
  }

  /** @param {Frame} event  has just been stored, and stands between the messages */
  appendLine(event) {
    if (!this.#endsEarly && !this.#ofQuestions) this.showLines([event]);
  }

  /** @param {Frame[]} events  that stand between the messages that are shown, in order; those that are here stay */
  showLines(events) {
    this.#place.keepNow(() => {
      for (const event of events) {
        if (this.#lines.has(event.seq)) continue;
        const element = make('p', 'remark', this.#wordsOn(event));
        this.#lines.set(event.seq, { event, element });
        const next = this.#firstBehind(event.seq) ?? this.#firstUnstored();
        this.#log.insertBefore(element, next?.divider ?? next?.element ?? null);
      }
      // What is new begins with a message.
      this.#belowLine?.element.before(this.#line);
    });
  }

  /** Names have become known of people whose reactions are shown. */
  renameReaders() {
    this.#place.keep(() => {
      this.#renderWhere(({ reactions }) => reactions?.length);
      for (const { event, element } of this.#lines.values()) element.textContent = this.#wordsOn(event);
    });
  }

  /** Asks for older messages as soon as the reader is near the oldest one, be it now. */
  watchTop() {
    this.#olderRetry.hidden = true;
    this.#beginning.hidden = true;
    this.#topWatch.disconnect();
    this.#topWatch.observe(this.#top);
  }

  /** There are no older ones. */
  showBeginning() {
    this.#place.keepNow(() => (this.#beginning.hidden = false));
  }

  showOlderFailed() {
    this.#place.keepNow(() => (this.#olderRetry.hidden = false));
  }

  // Rows

  /**
   * @param {ShownMessage} message
   * @param {Row} [before]  the end when there is none
   */
  #insert(message, before) {
    const element = this.#elementOf(message);
    /** @type {Row} */
    const row = { message, element };
    this.#rows.set(element, row);
    if (message.seq) this.#stored.set(message.seq, row);
    if (message.seq > (this.#lastOwn?.seq ?? 0) && message.own) this.#lastOwn = message;
    this.#log.insertBefore(element, before?.divider ?? before?.element ?? null);
    this.#arrange(row);
    this.#arrange(this.#neighbour(row, 'nextElementSibling'));
    if (!this.#log.contains(document.activeElement)) this.#makeReachable(this.#last());
    return row;
  }

  /** @param {ShownMessage} message  has just been stored */
  #settle(message) {
    const unstored = message.own ? this.#unstored.get(message.id ?? '') : undefined;
    const hadFocus = unstored?.element.contains(document.activeElement);
    if (unstored) this.removeUnstored(message.id ?? '');
    const row = this.#insert(message, this.#firstUnstored());
    if (hadFocus) row.element.focus({ preventScroll: true });
  }

  #sortStored() {
    this.#stored = new Map([...this.#stored].sort(([one], [other]) => one - other));
  }

  /** @param {Row} row */
  #takeOut(row) {
    const next = this.#neighbour(row, 'nextElementSibling');
    this.#handOnFocus([row.element], next ?? this.#neighbour(row, 'previousElementSibling'));
    this.#forget(row);
    row.divider?.remove();
    row.element.remove();
    this.#arrange(next);
    if (row === this.#belowLine) this.#placeLine();
    if (row === this.#reachable) this.#makeReachable(this.#last());
  }

  /** @param {Row} row */
  #forget({ element, message: { seq, id = '' } }) {
    this.#rows.delete(element);
    if (seq) this.#stored.delete(seq);
    else this.#unstored.delete(id);
  }

  /** Whether the focus is where it would be lost when other messages are shown. */
  get #hasFocus() {
    return this.#toNewest === document.activeElement || this.#log.contains(document.activeElement);
  }

  /**
   * @param {HTMLElement[]} elements  which are about to go
   * @param {Row | undefined} row  stays
   */
  #handOnFocus(elements, row) {
    const hadFocus = elements.some((element) => element.contains(document.activeElement));
    if (hadFocus) row?.element.focus({ preventScroll: true });
  }

  /**
   * Lets go of what is farthest from the reader where there is more than enough: a page is as quick after ten thousand
   * messages as it was after the first. What is let go is loaded again when she comes near.
   */
  #letGo() {
    if (this.#rows.size <= MOST) return;
    this.#place.restore();
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const fromTop = this.#place.isAtBottom || scrollTop > scrollHeight - scrollTop - clientHeight;
    const elements = /** @type {HTMLElement[]} */ ([...this.#log.querySelectorAll('.message')]);
    if (!fromTop) elements.reverse();
    const stays = elements.findIndex((element, place) => {
      const { offsetTop, offsetHeight } = element;
      const distance = fromTop ? scrollTop - offsetTop - offsetHeight : offsetTop - scrollTop - clientHeight;
      return distance < NEAR || elements.length - place <= ENOUGH || this.#isSelected(element);
    });
    const kept = this.#rowOf(elements[stays]);
    if (stays <= 0 || !kept) return;
    const gone = elements.slice(0, stays);
    this.#handOnFocus(gone, kept);
    for (const element of gone) {
      const row = this.#rowOf(element);
      if (row?.message.seq) this.#originals.learn(row.message);
      if (row) this.#forget(row);
    }
    if (fromTop) this.#cutBefore(kept);
    else this.#cutAfter(kept);
    for (const [seq, { element }] of this.#lines) if (!element.isConnected) this.#lines.delete(seq);
    this.#place.restore();
    if (!this.#reachable?.element.isConnected) this.#makeReachable(kept);
  }

  /** @param {Row} kept  the oldest from now on */
  #cutBefore(kept) {
    while (this.#top.nextElementSibling !== kept.element) this.#top.nextElementSibling?.remove();
    kept.divider = undefined;
    this.#arrange(kept);
    this.#placeLine();
    this.watchTop();
  }

  /** @param {Row} kept  the newest from now on */
  #cutAfter(kept) {
    while (kept.element.nextElementSibling) kept.element.nextElementSibling.remove();
    this.#endsEarly = true;
    this.#watchesEnd = true;
    if (!this.#line.isConnected) this.#belowLine = undefined;
  }

  /** @param {HTMLElement} element  would take what is selected away with it */
  #isSelected(element) {
    const selection = getSelection();
    if (!selection || selection.isCollapsed || this.#rows.size > MOST_WITH_SELECTION) return false;
    return selection.containsNode(element, true);
  }

  /** @param {(message: ShownMessage) => unknown} condition */
  #renderWhere(condition) {
    for (const row of this.#stored.values()) if (condition(row.message)) this.#render(row);
  }

  /** @param {Row} row */
  #render(row) {
    const element = this.#elementOf(row.message);
    const focused = row.element.contains(document.activeElement) ? document.activeElement : null;
    const tools = row.element.querySelector('.tools');
    if (tools && !row.message.deleted) element.append(tools);
    if (row.element.classList.contains('shown')) element.classList.add('shown');
    row.element.replaceWith(element);
    this.#place.replace(row.element, element);
    this.#rows.delete(row.element);
    this.#rows.set(element, row);
    row.element = element;
    this.#arrange(row);
    if (row === this.#reachable) this.#makeReachable(row);
    if (focused instanceof HTMLElement) counterpart(focused, element).focus({ preventScroll: true });
  }

  /** @param {ShownMessage} message */
  #elementOf(message) {
    return messageElement(this.#expected(message), this.#aroundOf(message));
  }

  /**
   * @param {ShownMessage} message
   * @returns {Around}
   */
  #aroundOf({ seq, reply_to: target, answers = 0 }) {
    // Answers that are shown look as they will stand; the others are in the count.
    for (const { message } of this.#stored.values()) {
      if (message.reply_to === seq) answers += Number(isAnswer(this.#expected(message))) - Number(isAnswer(message));
    }
    return {
      reader: this.#own,
      nameOf: this.#nameOf,
      target: target ? this.#stored.get(target)?.message ?? this.#originals.of(target) : undefined,
      isReported: this.#isReported(seq),
      isAnswered: answers > 0,
    };
  }

  /**
   * Gives a row the look that follows from the one before it.
   *
   * @param {Row | undefined} row
   */
  #arrange(row) {
    if (!row) return;
    const previous = this.#neighbour(row, 'previousElementSibling');
    const opensDay = !previous || !isSameDay(previous.message.datetime, row.message.datetime);
    if (opensDay && !row.divider) {
      row.divider = make('h2', 'day', dayOf(row.message.datetime));
      row.element.before(row.divider);
    } else if (!opensDay) {
      row.divider?.remove();
      row.divider = undefined;
    }
    const opensPart = opensDay || row === this.#belowLine;
    row.element.classList.toggle('grouped', !opensPart && continues(previous.message, row.message));
  }

  /**
   * @param {Row} row
   * @param {'previousElementSibling' | 'nextElementSibling'} direction
   * @returns {Row | undefined}
   */
  #neighbour(row, direction) {
    let element = row.element[direction];
    while (element && !element.matches('.message')) element = element[direction];
    return this.#rowOf(element);
  }

  /** @param {EventTarget | null} target */
  #rowOf(target) {
    const element = target instanceof Element ? target.closest('.message') : null;
    return element instanceof HTMLElement ? this.#rows.get(element) : undefined;
  }

  #last() {
    let element = this.#log.lastElementChild;
    while (element && !element.matches('.message')) element = element.previousElementSibling;
    return this.#rowOf(element);
  }

  /**
   * @param {number} seq
   * @returns {Row | undefined} the oldest stored one behind it
   */
  #firstBehind(seq) {
    return [...this.#stored.values()].find(({ message }) => message.seq > seq);
  }

  /** @returns {Row | undefined} */
  #firstUnstored() {
    const [first] = this.#unstored.values();
    return first;
  }

  #placeLine() {
    const before = this.#belowLine;
    this.#belowLine = [...this.#stored.values()].find(
      ({ message }) => message.seq > this.#lineAfter && !message.own,
    );
    this.#line.remove();
    this.#belowLine?.element.before(this.#line);
    this.#arrange(before);
    this.#arrange(this.#belowLine);
  }

  #renameDaysAtMidnight() {
    setTimeout(() => {
      for (const { divider, message } of this.#rows.values()) {
        if (divider) divider.textContent = dayOf(message.datetime);
      }
      this.#renameDaysAtMidnight();
    }, untilMidnight());
  }

  // Place

  /** @param {number} below  how many pixels the end is from there */
  #looked(below) {
    if (this.#watchesEnd && below < NEAR) {
      this.#watchesEnd = false;
      this.#onEnd();
    }
    this.#showWayDown();
    if (this.#place.isAtBottom) this.#onBottom();
  }

  /** @param {boolean} takesFocus  from the way down, which is hidden there */
  #goDown(takesFocus = this.#toNewest === document.activeElement) {
    this.#place.goDown();
    if (takesFocus) this.#last()?.element.focus({ preventScroll: true });
  }

  #showWayDown() {
    if (this.#place.isAtBottom) this.#unseen = 0;
    const label = this.#unseen ? plural('log.new_messages', this.#unseen) : '';
    this.#toNewest.hidden = this.#place.isAtBottom;
    this.#toNewest.ariaLabel = label || text('log.to_newest');
    /** @type {HTMLElement} */ (this.#toNewest.firstElementChild).textContent = label;
  }

  // Keyboard and pointer

  /** @param {KeyboardEvent} event */
  #move(event) {
    const row = this.#rowOf(event.target);
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const elements = /** @type {NodeListOf<HTMLElement>} */ (this.#log.querySelectorAll('.message'));
    const place = [...elements].indexOf(row.element);
    const goal = { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: elements.length - 1 }[event.key];
    if (goal === undefined) return;
    event.preventDefault();
    if (event.key === 'End' && this.#endsEarly) this.#onNewest();
    else elements[goal]?.focus();
  }

  /** @param {Row | undefined} row */
  #makeReachable(row) {
    if (!row) return;
    if (this.#reachable) reach(this.#reachable.element, -1);
    this.#reachable = row;
    reach(row.element, 0);
  }

  /** @param {MouseEvent} event */
  #act(event) {
    const button = event.target instanceof Element ? event.target.closest('button') : null;
    const row = this.#rowOf(button);
    if (!row || !button?.dataset.action) return;
    this.#onAction(button.dataset.action, row.message, button);
    if (button.dataset.action === 'copy') button.textContent = text('message.copied');
  }
}

/** @param {ShownMessage} message */
function isAnswer({ answered, deleted }) {
  return answered && !deleted;
}

function lineElement() {
  const line = make('div', 'new-line', text('log.new'));
  line.role = 'separator';
  line.ariaLabel = text('log.new');
  return line;
}

/**
 * @param {ShownMessage} previous
 * @param {ShownMessage} message
 */
function continues(previous, message) {
  const pause = Date.parse(message.datetime) - Date.parse(previous.datetime);
  const isSame = previous.user === message.user && previous.anonymous === message.anonymous;
  return isSame && Math.abs(pause) < GROUP_WITHIN && !message.reply_to && !message.question;
}

/**
 * @param {HTMLElement} focused  in the element that `element` stands in for
 * @param {HTMLElement} element
 * @returns {HTMLElement} what is to have the focus now
 */
function counterpart(focused, element) {
  if (element.contains(focused)) return focused;
  const { action, value } = focused.dataset;
  const buttons = [...element.querySelectorAll('button')];
  return buttons.find(({ dataset }) => action && dataset.action === action && dataset.value === value) ?? element;
}
