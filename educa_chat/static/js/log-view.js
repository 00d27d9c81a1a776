/** @import { Around, ShownMessage } from './message-view.js' */
/** @import { Frame } from './protocol.js' */

import { dayOf, isSameDay, untilMidnight } from './dates.js';
import { make, messageElement, reach } from './message-view.js';
import { byId } from './page-data.js';
import { plural, text } from './strings.js';

const GROUP_WITHIN = 5 * 60_000;
const BOTTOM = 40;
const ABOVE_LINE = 16;
const READ_OUT_AT_ONCE = 3;
const READ_OUT_AFTER = 400;
const SHOWN_FOR = 2000;
const NEAR_END = 400;

/**
 * @typedef {object} Row  A message and what stands for it on the page.
 * @property {ShownMessage} message
 * @property {HTMLElement} element
 * @property {HTMLElement} [divider]  in front of the first message of a day
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
  #announcer = byId('announcer');

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

  /** What of the rows is shown. */
  #selector = '.message';

  #atBottom = true;

  /** Whether messages are missing behind the last one that is shown: the reader has jumped back. */
  #endsEarly = false;
  /** Whether the reader's coming near that end is to be told. */
  #watchesEnd = false;

  /** Where the log was scrolled to when it was last looked at. */
  #lastTop = 0;
  #unseen = 0;
  /** @type {{row: Row, offset: number} | null} what is being read, where that is not the bottom */
  #place = null;
  /** The request for the frame in which the place is restored, 0 for none. */
  #frame = 0;

  /** @type {ShownMessage[]} */
  #unread = [];
  /** @type {number | undefined} */
  #readOut;

  #own;
  #nameOf;
  #wordsOn;
  #isReported;
  #expected;
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
   * @param {() => void} reader.onTop  the reader nears the oldest message
   * @param {() => void} reader.onEnd  the reader nears the last message, and there are newer ones
   * @param {() => void} reader.onNewest  the reader wants the newest messages, and they are not shown
   * @param {() => void} reader.onBottom  the reader has come to the newest message
   * @param {(action: string, message: ShownMessage, button: HTMLButtonElement) => void} reader.onAction
   */
  constructor({ user, nameOf, wordsOn, isReported, expected, onTop, onEnd, onNewest, onBottom, onAction }) {
    this.#own = user;
    this.#nameOf = nameOf;
    this.#wordsOn = wordsOn;
    this.#isReported = isReported;
    this.#expected = expected;
    this.#onEnd = onEnd;
    this.#onNewest = onNewest;
    this.#onAction = onAction;
    this.#onBottom = onBottom;
    this.#log.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    this.#log.addEventListener('keydown', (event) => this.#move(event));
    this.#log.addEventListener('focusin', (event) => this.#makeReachable(this.#rowOf(event.target)));
    this.#log.addEventListener('click', (event) => this.#act(event));
    this.#toNewest.addEventListener('click', () => (this.#endsEarly ? this.#onNewest() : this.#scrollDown()));
    this.#olderRetry.addEventListener('click', () => this.watchTop());
    this.#topWatch = new IntersectionObserver(
      (entries) => {
        if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
        this.#topWatch.disconnect();
        onTop();
      },
      { root: this.#log, rootMargin: '400px 0px 0px' },
    );
    new ResizeObserver(() => this.#restorePlace()).observe(this.#log);
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

  /** Whether the newest message is in view. */
  get isAtBottom() {
    return this.#atBottom;
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
    return [...this.#stored.values()].map(({ message }) => message).findLast(({ own }) => own);
  }

  /**
   * Shows these messages, the newest, and nothing else.
   *
   * @param {ShownMessage[]} messages
   */
  replace(messages) {
    this.#showOnly(messages, false);
    this.#scrollDown();
  }

  /**
   * Shows these messages, which newer ones follow, and nothing else.
   *
   * @param {ShownMessage[]} messages
   */
  replaceWithOlder(messages) {
    this.#showOnly(messages, true);
    this.#atBottom = false;
    this.#place = null;
  }

  /** Asks for newer messages as soon as the reader is near the last one, be it now. */
  watchEnd() {
    this.#watchesEnd = true;
    requestAnimationFrame(() => this.#scrolled());
  }

  /**
   * @param {ShownMessage[]} messages  newer ones, the oldest first
   * @param {boolean} areNewest  whether nothing is missing any more
   */
  extend(messages, areNewest) {
    this.#keepingPlace(() => {
      for (const message of messages) this.#insert(message);
      // A question that was the last is here now with its answer.
      this.#renderWhere(({ question }) => question);
      if (!this.#belowLine) this.#placeLine();
      if (areNewest) this.#endsEarly = false;
    });
  }

  /**
   * @param {ShownMessage[]} messages
   * @param {boolean} endsEarly
   */
  #showOnly(messages, endsEarly) {
    this.#endsEarly = endsEarly;
    this.#watchesEnd = false;
    while (this.#top.nextElementSibling) this.#top.nextElementSibling.remove();
    for (const rows of [this.#rows, this.#stored, this.#unstored, this.#lines]) rows.clear();
    this.#reachable = this.#belowLine = undefined;
    this.#line.remove();
    for (const message of messages) this.#insert(message);
    this.#renderWhere(({ question }) => question);
    this.#placeLine();
    this.#log.ariaBusy = 'false';
  }

  /** @param {ShownMessage[]} messages  older ones, the oldest first */
  prepend(messages) {
    this.#keepingPlace(() => {
      const newer = [...this.#stored];
      this.#stored.clear();
      for (const message of messages) this.#insert(message, newer[0]?.[1] ?? this.#firstUnstored());
      for (const [seq, row] of newer) this.#stored.set(seq, row);
      // A question is here now with its answer, and what is replied to with the reply.
      const first = newer[0]?.[0] ?? 0;
      this.#renderWhere(({ seq, question, reply_to: target }) => (seq < first ? question : target && target < first));
      if (this.#belowLine) this.#placeLine();
    });
  }

  /** @param {ShownMessage} message  has just been stored */
  append(message) {
    // A page of the history has brought it already.
    if (this.#stored.has(message.seq)) return;
    if (!this.#endsEarly) this.#keepingPlace(() => this.#settle(message));
    if (message.own) return;
    this.#announce(message);
    if (!this.#atBottom) this.#unseen += 1;
    this.#showWayDown();
  }

  /** @param {ShownMessage} message  is on its way, or has failed */
  showUnstored(message) {
    if (this.#endsEarly) return;
    const row = this.#unstored.get(message.id ?? '');
    if (row) {
      row.message = message;
      this.#keepingPlace(() => this.#render(row));
    } else {
      this.#unstored.set(message.id ?? '', this.#insert(message));
      this.#scrollDown();
    }
  }

  /** @param {string} id */
  removeUnstored(id) {
    const row = this.#unstored.get(id);
    if (!row) return;
    this.#unstored.delete(id);
    this.#keepingPlace(() => this.#takeOut(row));
  }

  /**
   * @param {number} seq
   * @param {(message: ShownMessage) => ShownMessage} [change]  none where only what waits is another
   */
  change(seq, change = (message) => message) {
    const row = this.#stored.get(seq);
    if (!row) return;
    row.message = change(row.message);
    this.#keepingPlace(() => {
      this.#render(row);
      // Its head stands above its replies, and a question looks as its answers let it look.
      this.#renderWhere((other) => other.reply_to === seq || other.seq === row.message.reply_to);
    });
  }

  /**
   * Draws a line above the first message of others behind `after`; where there is none, nothing is new.
   *
   * @param {number} after
   */
  drawLine(after) {
    this.#lineAfter = after;
    this.#keepingPlace(() => this.#placeLine());
    if (!this.#belowLine && !this.#endsEarly) this.#unseen = 0;
    this.#showWayDown();
  }

  /** Shows the line, if there is one, and what is new below it. */
  goToLine() {
    if (!this.#belowLine) return;
    this.#log.scrollTop = this.#line.offsetTop - ABOVE_LINE;
    this.#lookWhere();
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
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const space = this.#log.clientHeight - row.element.offsetHeight;
    this.#log.scrollTop = row.element.offsetTop - Math.max(space / 2, 0);
    this.#lookWhere();
    row.element.focus({ preventScroll: true });
    row.element.classList.add('shown');
    setTimeout(() => row.element.classList.remove('shown'), SHOWN_FOR);
    return true;
  }

  /** @param {Frame} event  has just been stored, and stands between the messages */
  appendLine(event) {
    if (!this.#endsEarly) this.showLines([event]);
  }

  /** @param {Frame[]} events  that stand between the messages that are shown, in order; those that are here stay */
  showLines(events) {
    this.#keepingPlace(() => {
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

  /** @param {boolean} isOn  shows nothing but questions that nobody has answered */
  showUnanswered(isOn) {
    this.#selector = isOn ? '.message.unanswered' : '.message';
    this.#log.classList.toggle('only-unanswered', isOn);
    this.#scrollDown();
  }

  /** Names have become known of people whose reactions are shown. */
  renameReaders() {
    this.#keepingPlace(() => {
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
    this.#keepingPlace(() => (this.#beginning.hidden = false));
  }

  showOlderFailed() {
    this.#keepingPlace(() => (this.#olderRetry.hidden = false));
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

  /** @param {Row} row */
  #takeOut(row) {
    const next = this.#neighbour(row, 'nextElementSibling');
    this.#rows.delete(row.element);
    row.divider?.remove();
    row.element.remove();
    this.#arrange(next);
    if (row === this.#reachable) this.#makeReachable(this.#last());
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
  #aroundOf({ seq, reply_to: target, question }) {
    const stored = [...(question ? this.#stored.values() : [])].map(({ message }) => this.#expected(message));
    return {
      reader: this.#own,
      nameOf: this.#nameOf,
      target: target ? this.#stored.get(target)?.message : undefined,
      isReported: this.#isReported(seq),
      isAnswered: stored.some(({ reply_to: replied, answered, deleted }) => replied === seq && answered && !deleted),
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

  /**
   * Changes the log without moving what is being read. However many changes a frame brings, what they do to the layout is
   * looked at once.
   *
   * @param {() => void} change
   */
  #keepingPlace(change) {
    if (!this.#frame) {
      this.#followReader();
      if (!this.#atBottom) this.#place = this.#findPlace();
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#followReader();
        this.#restorePlace();
      });
    }
    change();
  }

  #restorePlace() {
    if (this.#atBottom) this.#log.scrollTop = this.#log.scrollHeight;
    else if (this.#place?.row.element.isConnected) {
      this.#log.scrollTop = this.#place.row.element.offsetTop - this.#place.offset;
    }
    this.#lastTop = this.#log.scrollTop;
  }

  /** The first row that is to be seen, and where. */
  #findPlace() {
    const elements = /** @type {NodeListOf<HTMLElement>} */ (this.#log.querySelectorAll(this.#selector));
    let low = 0;
    let high = elements.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { offsetTop, offsetHeight } = elements[middle];
      if (offsetTop + offsetHeight > this.#log.scrollTop) high = middle;
      else low = middle + 1;
    }
    const row = this.#rowOf(elements[low]);
    return row ? { row, offset: row.element.offsetTop - this.#log.scrollTop } : null;
  }

  /** A reader who has just scrolled up is not to be taken down again, though the event is yet to come. */
  #followReader() {
    if (this.#atBottom && this.#log.scrollTop < this.#lastTop) this.#scrolled();
  }

  #scrolled() {
    // What has changed in this frame moved the rows; where they belong is known.
    if (!this.#frame) this.#lookWhere();
  }

  #lookWhere() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    this.#lastTop = scrollTop;
    const below = scrollHeight - scrollTop - clientHeight;
    this.#atBottom = below < BOTTOM && !this.#endsEarly;
    if (this.#watchesEnd && below < NEAR_END) {
      this.#watchesEnd = false;
      this.#onEnd();
    }
    this.#place = this.#atBottom ? null : this.#findPlace();
    this.#showWayDown();
    if (this.#atBottom) this.#onBottom();
  }

  #scrollDown() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.#lookWhere();
  }

  #showWayDown() {
    if (this.#atBottom) this.#unseen = 0;
    const label = this.#unseen ? plural('log.new_messages', this.#unseen) : '';
    this.#toNewest.hidden = this.#atBottom;
    this.#toNewest.ariaLabel = label || text('log.to_newest');
    /** @type {HTMLElement} */ (this.#toNewest.firstElementChild).textContent = label;
  }

  // Keyboard and pointer

  /** @param {KeyboardEvent} event */
  #move(event) {
    const row = this.#rowOf(event.target);
    if (!row || event.altKey || event.ctrlKey || event.metaKey) return;
    const elements = /** @type {NodeListOf<HTMLElement>} */ (this.#log.querySelectorAll(this.#selector));
    const place = [...elements].indexOf(row.element);
    const goal = { ArrowUp: place - 1, ArrowDown: place + 1, Home: 0, End: elements.length - 1 }[event.key];
    if (goal === undefined) return;
    event.preventDefault();
    elements[goal]?.focus();
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

  // Reading out

  /**
   * New messages are read out from a region of their own: what is added to the log itself may be history.
   *
   * @param {ShownMessage} message
   */
  #announce(message) {
    this.#unread.push(message);
    this.#readOut ??= setTimeout(() => {
      const lines = this.#unread.length > READ_OUT_AT_ONCE
        ? [plural('log.new_messages', this.#unread.length)]
        : this.#unread.map(({ name, message: said }) => text('log.announcement', { name, message: said }));
      this.#announcer.replaceChildren(...lines.map((line) => make('p', '', line)));
      this.#unread = [];
      this.#readOut = undefined;
    }, READ_OUT_AFTER);
  }
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
