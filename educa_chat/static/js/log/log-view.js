import { onNewDay } from '../calendar.js';
import { byId } from '../dom.js';
import { text } from '../strings.js';
import { Announcer } from './announcer.js';
import { LogTop } from './log-top.js';
import { LongMessages } from './long-messages.js';
import { messageElement } from './message-element.js';
import { NewestButton } from './newest-button.js';
import { RovingFocus } from './roving-focus.js';
import { RowOrder } from './row-order.js';
import { Rows } from './rows.js';
import { ScrollAnchor } from './scroll-anchor.js';
import { SystemMessages } from './system-messages.js';
import { MAX_ROWS, PREFETCH_PX, isTopFarther, rowsToTrim } from './trimming.js';
import { UnreadDivider } from './unread-divider.js';

const SPACE_ABOVE_PX = 16;
const HIGHLIGHTED_FOR_MS = 2000;

/** The log on the page: a part of the room's messages, or the unanswered questions alone, and what is between them. */
export class LogView {
  #log = byId('chat');
  #announcer = new Announcer(() => this.#callbacks.mentions);
  /** @type {RowOrder<Row>} */
  #order = new RowOrder();
  /** @type {Rows} */
  #rows = new Rows(this.#log, this.#order, {
    elementOf: (message) => {
      const element = messageElement(this.#callbacks.optimistic(message), this.#contextOf(message));
      this.#long.watch(element, message);
      return element;
    },
    isFirstUnread: (row) => this.#unreadDivider.isAbove(row),
    onReplaced: (former, element) => {
      this.#anchor.replace(former, element);
      this.#focus.replace(former, element);
    },
  });
  /** @type {UnreadDivider} */
  #unreadDivider = new UnreadDivider(this.#order, this.#rows);
  #systemMessages = new SystemMessages(this.#order, this.#rows, (event) => this.#callbacks.textOf(event));
  #top = new LogTop(() => this.#callbacks.onTop());
  #newestButton = new NewestButton(() => (this.#endsEarly ? this.#callbacks.onNewest() : this.#goDown()));
  #focus = new RovingFocus(this.#log, () => {
    if (this.#endsEarly) this.#callbacks.onNewest();
    return this.#endsEarly;
  });
  #anchor = new ScrollAnchor(this.#log, {
    isWhole: () => !this.#endsEarly,
    onLook: (below) => this.#looked(below),
  });

  #long = new LongMessages({
    onChange: (change) => this.#anchor.keepNow(change),
    onToggled: (element) => this.#showToggled(element),
  });

  /** Whether newer messages than the last one here are missing. */
  #endsEarly = false;
  /** Whether `onEnd` is called when the reader is near the last message. */
  #watchesEnd = false;
  /** Whether only unanswered questions are shown. */
  #ofQuestions = false;
  /** @type {ShownMessage | undefined} the reader's last message, which may have been removed from the page */
  #lastOwn;

  #callbacks;

  /** @param {LogCallbacks} callbacks */
  constructor(callbacks) {
    this.#callbacks = callbacks;
    this.#log.addEventListener('click', (event) => this.#click(event));
    onNewDay(() => this.#rows.renameDays());
  }

  get element() {
    return this.#log;
  }

  /** The seq of the oldest message that is shown. */
  get oldest() {
    return this.#order.stored[0]?.message.seq;
  }

  /** The seq of the newest stored message that is shown. */
  get newest() {
    return this.#order.stored.at(-1)?.message.seq;
  }

  /** Whether newer messages are missing, and with them the pending ones. */
  get endsEarly() {
    return this.#endsEarly;
  }

  /** Whether the newest message is in view, after all the messages before it. */
  get isAtBottom() {
    return this.#anchor.isAtBottom && !this.#ofQuestions;
  }

  /** @returns {ReadingPosition | null} null: at the newest message */
  get readingPosition() {
    const first = this.#anchor.isAtBottom ? null : this.#anchor.first;
    const seq = first && this.#rows.rowOf(first.element)?.message.seq;
    return seq ? { seq, offset: first.offset } : null;
  }

  get lastOwn() {
    return this.#lastOwn;
  }

  /**
   * @param {number} seq
   * @returns {boolean} whether a question is shown that the message `seq` may be a reply to
   */
  hasQuestionBefore(seq) {
    return this.#order.stored.some(({ message }) => message.question && message.seq < seq);
  }

  /** @param {number} seq */
  messageAt(seq) {
    return this.#order.atSeq(seq)?.message;
  }

  /** @param {Element} element */
  messageOf(element) {
    return this.#rows.rowOf(element)?.message;
  }

  // The part of the history that is shown

  /**
   * Shows these messages, the newest, and nothing else.
   *
   * @param {ShownMessage[]} messages
   * @param {boolean} ofQuestions  whether they are only the unanswered questions
   */
  replace(messages, ofQuestions) {
    const hadFocus = this.#newestButton.hasFocus || this.#log.contains(document.activeElement);
    if (!ofQuestions) this.#lastOwn = undefined;
    this.#showOnly(messages, false, ofQuestions);
    this.#goDown(hadFocus);
  }

  /**
   * Shows these messages, after which there are newer ones, and nothing else.
   *
   * @param {ShownMessage[]} messages
   */
  replaceWithOlder(messages) {
    this.#showOnly(messages, true, false);
    this.#anchor.leave();
  }

  /** @param {ShownMessage[]} messages  older ones, the oldest first */
  prepend(messages) {
    this.#anchor.keepNow(() => {
      for (const message of messages) this.#insert(message);
      if (this.#unreadDivider.isShown) this.#unreadDivider.update();
      this.#trim();
    });
  }

  /**
   * @param {ShownMessage[]} messages  newer ones, the oldest first
   * @param {boolean} areNewest  whether none are missing any more
   */
  extend(messages, areNewest) {
    this.#anchor.keepNow(() => {
      for (const message of messages) this.#insert(message);
      if (!this.#unreadDivider.isShown) this.#unreadDivider.update();
      if (areNewest) this.#endsEarly = false;
      this.#trim();
    });
  }

  /** Requests older messages when the reader is near the oldest one, which may already be the case. */
  watchTop() {
    this.#top.watch();
  }

  /** There are no older messages. */
  showBeginning() {
    this.#anchor.keepNow(() => this.#top.showBeginning());
  }

  showOlderFailed() {
    this.#anchor.keepNow(() => this.#top.showFailed());
  }

  /** Requests newer messages when the reader is near the last one, which may already be the case. */
  watchEnd() {
    this.#watchesEnd = true;
    requestAnimationFrame(() => this.#anchor.look());
  }

  // Single messages

  /** @param {ShownMessage} message  has just been stored */
  append(message) {
    // A page of the history may have included it already.
    if (this.#order.atSeq(message.seq)) return;
    if (!this.#endsEarly) {
      this.#anchor.keep(() => {
        this.#replacePending(message);
        this.#trim();
      });
    }
    if (message.own) return;
    this.#announcer.announce(message);
    if (!this.#anchor.isAtBottom) this.#newestButton.count(message.seq);
    this.#newestButton.show(this.#anchor.isAtBottom);
  }

  /** @param {ShownMessage} message  belongs between the shown ones; omitted if it is outside their range */
  put(message) {
    const next = this.#order.stored.find((row) => row.message.seq > message.seq);
    if (next ? next === this.#order.stored[0] && !this.#top.isBeginning : this.#endsEarly) return;
    this.#anchor.keep(() => {
      this.#insert(message);
      this.#trim();
    });
  }

  /** @param {number} seq */
  remove(seq) {
    const row = this.#order.atSeq(seq);
    if (row) this.#anchor.keep(() => this.#remove(row));
  }

  /**
   * Changes a message, and renders it again.
   *
   * @param {number} seq
   * @param {(message: ShownMessage) => ShownMessage} [change]  none if only a pending command has changed
   */
  change(seq, change = (message) => message) {
    if (this.#lastOwn?.seq === seq) this.#lastOwn = change(this.#lastOwn);
    const row = this.#order.atSeq(seq);
    if (row) row.message = change(row.message);
    this.#anchor.keep(() => {
      if (row) this.#rows.render(row);
      // Its replies quote it, and a question shows whether its answers answer it.
      this.#rows.renderWhere((other) => other.reply_to === seq || other.seq === row?.message.reply_to);
    });
  }

  /**
   * @param {number} seq  of a message whose text has changed or was deleted
   * @param {boolean} isDeleted
   */
  forgetText(seq, isDeleted) {
    this.#announcer.forget(seq);
    if (!isDeleted) return;
    this.#newestButton.uncount(seq);
    this.#newestButton.show(this.#anchor.isAtBottom);
  }

  /** @param {ShownMessage} message  is pending, or has failed */
  showPending(message) {
    if (this.#endsEarly || this.#ofQuestions) return;
    const row = this.#order.pendingWith(message.id ?? '');
    if (row) {
      row.message = message;
      this.#anchor.keep(() => this.#rows.render(row));
    } else {
      this.#insert(message);
      this.#goDown();
    }
  }

  /** @param {string} id */
  removePending(id) {
    const row = this.#order.pendingWith(id);
    if (row) this.#anchor.keep(() => this.#remove(row));
  }

  /** @param {number[]} seqs  of messages that are now known: their replies quote them */
  renderRepliesTo(seqs) {
    this.#anchor.keep(() => this.#rows.renderWhere(({ reply_to: target }) => target && seqs.includes(target)));
  }

  /** Shows names that have become known. */
  renderNames() {
    this.#anchor.keep(() => {
      this.#rows.renderWhere(({ reactions, mentions, reply_to: target }) => reactions?.length || mentions?.length || target);
      this.#systemMessages.rename();
    });
  }

  // Between the messages

  /** @param {Frame} event  has just been stored, and is shown as a system message */
  appendSystemMessage(event) {
    if (!this.#endsEarly && !this.#ofQuestions) this.showSystemMessages([event]);
  }

  /** @param {Frame[]} events  that are shown as system messages, in order; those that are already shown stay */
  showSystemMessages(events) {
    this.#anchor.keepNow(() => {
      this.#systemMessages.show(events);
      this.#unreadDivider.attach();
    });
  }

  /**
   * Shows a divider above the first message of somebody else after `seq`. If there is none, everything has been read.
   *
   * @param {number} seq
   */
  showUnreadAfter(seq) {
    this.#anchor.keep(() => this.#unreadDivider.moveTo(seq));
    if (!this.#unreadDivider.isShown && !this.#endsEarly) this.#newestButton.clear();
    this.#newestButton.show(this.#anchor.isAtBottom);
  }

  /** Scrolls to the first unread message, if there is one. */
  goToUnread() {
    if (this.#unreadDivider.isShown) this.#anchor.go(this.#unreadDivider.offsetTop - SPACE_ABOVE_PX);
  }

  // The reader's view

  /**
   * Scrolls to a message, and highlights it for a moment.
   *
   * @param {number} seq
   * @returns {boolean} false if it isn't here
   */
  show(seq) {
    const row = this.#order.atSeq(seq);
    if (!row) return false;
    const space = this.#log.clientHeight - row.element.offsetHeight;
    this.#anchor.go(row.element.offsetTop - Math.max(space / 2, 0));
    row.element.focus({ preventScroll: true });
    row.element.classList.add('shown');
    setTimeout(() => row.element.classList.remove('shown'), HIGHLIGHTED_FOR_MS);
    return true;
  }

  /** @param {ReadingPosition} position  whose message is here */
  returnTo({ seq, offset }) {
    const row = this.#order.atSeq(seq);
    if (row) this.#anchor.go(row.element.offsetTop - offset);
  }

  /** @param {boolean} takesFocus  if the button that was pressed has the focus, and is now hidden */
  #goDown(takesFocus = this.#newestButton.hasFocus) {
    this.#anchor.goDown();
    if (takesFocus) this.#order.last?.element.focus({ preventScroll: true });
  }

  /** @param {HTMLElement} element  a message that the reader has expanded or collapsed */
  #showToggled(element) {
    const focused = element.querySelector('.body :focus');
    if (focused) focused.scrollIntoView({ block: 'nearest' });
    else if (element.offsetTop < this.#log.scrollTop) this.#anchor.go(element.offsetTop - SPACE_ABOVE_PX);
    else this.#anchor.look();
  }

  /** @param {number} below  how many pixels the end is below what the reader sees */
  #looked(below) {
    if (this.#watchesEnd && below < PREFETCH_PX) {
      this.#watchesEnd = false;
      this.#callbacks.onEnd();
    }
    this.#newestButton.show(this.#anchor.isAtBottom);
    if (this.#anchor.isAtBottom) this.#callbacks.onBottom();
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const button = event.target instanceof Element ? event.target.closest('button') : null;
    const row = this.#rows.rowOf(button);
    if (!row || !button?.dataset.action) return;
    this.#callbacks.onAction(button.dataset.action, row.message, button);
    if (button.dataset.action === 'copy') button.textContent = text('message.copied');
  }

  // Rows

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
    this.#top.removeBelow();
    this.#rows.clear();
    this.#systemMessages.forgetRemoved();
    this.#unreadDivider.remove();
    for (const message of messages) this.#insert(message);
    this.#unreadDivider.update();
    this.#log.ariaBusy = 'false';
  }

  /** @param {ShownMessage} message */
  #insert(message) {
    const row = this.#rows.insert(message);
    if (message.own && message.seq > (this.#lastOwn?.seq ?? 0)) this.#lastOwn = message;
    this.#focus.reachUnlessFocused(this.#order.last?.element);
    return row;
  }

  /** @param {ShownMessage} message  has just been stored, and may be shown as a pending one */
  #replacePending(message) {
    const pending = message.own ? this.#order.pendingWith(message.id ?? '') : undefined;
    const hadFocus = pending?.element.contains(document.activeElement);
    if (pending) this.#remove(pending);
    const row = this.#insert(message);
    if (hadFocus) row.element.focus({ preventScroll: true });
  }

  /** @param {Row} row */
  #remove(row) {
    const neighbour = this.#order.next(row) ?? this.#order.previous(row);
    this.#focus.handOver([row.element], neighbour?.element);
    this.#rows.remove(row);
    if (this.#unreadDivider.isAbove(row)) this.#unreadDivider.update();
    this.#focus.reachIfRemoved(this.#order.last?.element);
  }

  /** Removes the rows that are farthest from the reader, if there are too many. */
  #trim() {
    if (this.#order.size <= MAX_ROWS) return;
    this.#anchor.restore();
    const rows = [...this.#order];
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const fromTop = isTopFarther({ isAtBottom: this.#anchor.isAtBottom, scrollTop, scrollHeight, clientHeight });
    if (!fromTop) rows.reverse();
    const count = rowsToTrim(rows.length, {
      distanceOf: (index) => {
        const { offsetTop, offsetHeight } = rows[index].element;
        return fromTop ? scrollTop - offsetTop - offsetHeight : offsetTop - scrollTop - clientHeight;
      },
      isSelected: (index) => isSelected(rows[index].element),
    });
    if (!count) return;
    const removed = rows.slice(0, count);
    const kept = rows[count];
    this.#focus.handOver(removed.map(({ element }) => element), kept.element);
    for (const row of removed) {
      if (row.message.seq) this.#callbacks.originals.learn(row.message);
      this.#rows.forget(row);
    }
    if (fromTop) this.#cutBefore(kept);
    else this.#cutAfter(kept);
    this.#systemMessages.forgetRemoved();
    this.#anchor.restore();
    this.#focus.reachIfRemoved(kept.element);
  }

  /** @param {Row} row  the oldest one from now on */
  #cutBefore(row) {
    this.#top.removeBelow(row.element);
    row.dayDivider = undefined;
    this.#rows.arrange(row);
    this.#unreadDivider.update();
    this.#top.watch();
  }

  /** @param {Row} row  the newest one from now on */
  #cutAfter(row) {
    while (row.element.nextElementSibling) row.element.nextElementSibling.remove();
    this.#endsEarly = true;
    this.#watchesEnd = true;
    this.#unreadDivider.forgetRemoved();
  }

  /**
   * @param {ShownMessage} message
   * @returns {MessageContext}
   */
  #contextOf({ seq, reply_to: target, answers = 0 }) {
    const { user, names, mentions, optimistic, originals, isReported } = this.#callbacks;
    // `answers` counts the stored ones. Those that are shown may also have pending changes.
    for (const { message } of this.#order.stored) {
      if (message.reply_to === seq) answers += Number(isAnswer(optimistic(message))) - Number(isAnswer(message));
    }
    return {
      reader: user,
      names,
      mentions,
      target: target ? this.messageAt(target) ?? originals.of(target) : undefined,
      isReported: isReported(seq),
      isAnswered: answers > 0,
    };
  }
}

/** @param {ShownMessage} message */
function isAnswer({ answered, deleted }) {
  return Boolean(answered && !deleted);
}

/** @param {HTMLElement} element  that contains selected text */
function isSelected(element) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}
