import { byId } from './dom.js';
import { kindOf } from './events/registry.js';
import { loadMessages } from './history.js';
import { changed, isUnanswered } from './message-state.js';

const PAGE = 50;
const AROUND = 25;
const AGAIN_AFTER = 2000;

/**
 * The part of a room's history that the log shows: of all messages, or of the unanswered questions alone. It grows by
 * pages at its ends, and moves by jumps, of which the last one wins.
 */
export class HistoryWindow {
  /** The number of the last jump. Responses to earlier jumps are ignored. */
  #jump = 0;
  #hasBegun = false;
  #ofQuestions = false;
  /** @type {ReadingPosition | null} where the reader was before they looked at the questions; null: at the newest */
  #back = null;

  #button = byId('unanswered');
  #room;
  #log;
  #recent;
  #originals;
  #epoch;
  #onMessages;
  #onNewest;
  #onFailure;

  /** @param {HistoryCallbacks} callbacks */
  constructor({ room, log, recent, originals, epoch, onMessages, onNewest, onFailure }) {
    this.#room = room;
    this.#log = log;
    this.#recent = recent;
    this.#originals = originals;
    this.#epoch = epoch;
    this.#onMessages = onMessages;
    this.#onNewest = onNewest;
    this.#onFailure = onFailure;
    this.#button.addEventListener('click', () => this.#switchQuestions());
  }

  /** @param {Page} page  the newest messages, if no history is known yet */
  begin(page) {
    const areQuestionsWanted = this.#button.ariaPressed === 'true';
    this.#hasBegun = true;
    this.#jump += 1;
    this.#showNewest(page, false);
    if (areQuestionsWanted) this.#switchQuestions();
  }

  /** @param {Frame} event  of the log */
  take(event) {
    this.#recent.add(event);
    const kind = kindOf(event);
    if (kind?.change) this.#change(event, kind);
    else if (kind?.isMessage && (!this.#ofQuestions || event.question)) this.#log.append(/** @type {any} */ (event));
  }

  /** Shows the newest of all messages, unless they are shown. */
  async showNewest() {
    if (this.#ofQuestions || this.#log.endsEarly) await this.toNewest();
    else this.#begin();
  }

  /** @returns {Promise<void>} */
  async toNewest(ofQuestions = false) {
    const jump = this.#begin();
    const page = await this.#load({ only: only(ofQuestions) });
    if (jump !== this.#jump) return;
    if (!page) return this.#failed('log.not_loaded');
    if (this.#recent.reaches(page.head)) return this.#showNewest(page, ofQuestions);
    return this.toNewest(ofQuestions);
  }

  /**
   * Shows a message, with those before and after it.
   *
   * @param {number} seq
   */
  async show(seq) {
    const jump = this.#begin();
    if (!this.#ofQuestions && this.#log.show(seq)) return;
    const older = await this.#showAround(seq, jump);
    if (older) this.#log.show(seq);
  }

  async loadOlder() {
    const { oldest: before } = this.#log;
    const jump = this.#jump;
    const page = await this.#load({ before, only: only(this.#ofQuestions) });
    // The log may show other messages by now.
    if (jump !== this.#jump || this.#log.oldest !== before) return;
    if (!page) return this.#log.showOlderFailed();
    this.#log.prepend(this.#upToDate(page));
    this.#log.showSystemMessages(page.lines);
    this.#showWhetherMore(page);
  }

  /** Loads the next messages, until none are missing. */
  async loadNewer() {
    const { newest: after } = this.#log;
    const jump = this.#jump;
    const page = await this.#load({ after, only: only(this.#ofQuestions) });
    if (jump !== this.#jump || this.#log.newest !== after || !this.#log.endsEarly) return;
    if (!page) {
      setTimeout(() => jump === this.#jump && this.#log.watchEnd(), AGAIN_AFTER);
      return;
    }
    const areNewest = !page.more && this.#recent.reaches(page.head);
    this.#log.extend([...this.#upToDate(page), ...(areNewest ? this.#messagesAfter(page) : [])], areNewest);
    this.#log.showSystemMessages([...page.lines, ...(areNewest ? this.#systemMessagesAfter(page) : [])]);
    if (areNewest) this.#onNewest();
    else this.#log.watchEnd();
  }

  /** Starts a jump, which cancels any earlier one. */
  #begin() {
    this.#button.ariaPressed = String(this.#ofQuestions);
    this.#jump += 1;
    return this.#jump;
  }

  /** @param {string} reason  the key of its text */
  #failed(reason) {
    this.#button.ariaPressed = String(this.#ofQuestions);
    this.#onFailure(reason);
  }

  /**
   * @param {{before?: number, after?: number, only?: 'unanswered'}} query
   * @param {number} [limit]
   * @returns {Promise<Page | null>} null if there is none, or it is of another history
   */
  async #load(query, limit = PAGE) {
    const page = await loadMessages(this.#room, { limit, ...query }).catch(() => null);
    return page && String(page.epoch) === this.#epoch() ? page : null;
  }

  /**
   * @param {Page} page
   * @param {boolean} ofQuestions
   */
  #showNewest(page, ofQuestions) {
    this.#setOfQuestions(ofQuestions);
    this.#log.replace([...this.#upToDate(page), ...this.#messagesAfter(page)], ofQuestions);
    this.#log.showSystemMessages([...page.lines, ...this.#systemMessagesAfter(page)]);
    this.#showWhetherMore(page);
    this.#onNewest();
  }

  /**
   * @param {number} seq
   * @param {number} jump
   * @returns {Promise<boolean>} whether it is shown
   */
  async #showAround(seq, jump) {
    const [older, newer] = await Promise.all([
      this.#load({ before: seq }, AROUND),
      this.#load({ after: seq - 1 }, AROUND),
    ]);
    if (jump !== this.#jump) return false;
    if (!older || newer?.messages[0]?.seq !== seq) {
      this.#failed(older && newer ? 'log.not_found' : 'log.not_loaded');
      return false;
    }
    this.#setOfQuestions(false);
    this.#log.replaceWithOlder([...this.#upToDate(older), ...this.#upToDate(newer)]);
    this.#log.showSystemMessages([...older.lines, ...newer.lines]);
    this.#showWhetherMore(older);
    this.#log.watchEnd();
    return true;
  }

  /** @param {Page} page */
  #upToDate(page) {
    const messages = this.#recent.upToDate(page).filter((message) => !this.#ofQuestions || isUnanswered(message));
    this.#onMessages(messages);
    return messages;
  }

  /** @param {Page} page  which ended with the newest message when the server made it */
  #messagesAfter({ head }) {
    return this.#recent.messagesAfter(head).filter((message) => !this.#ofQuestions || isUnanswered(message));
  }

  /** @param {Page} page  which ended with the newest message when the server made it */
  #systemMessagesAfter({ head }) {
    return this.#ofQuestions ? [] : this.#recent.systemMessagesAfter(head);
  }

  /** @param {Page} page  with the oldest message that is shown */
  #showWhetherMore({ more }) {
    if (more) this.#log.watchTop();
    else this.#log.showBeginning();
  }

  // Questions

  async #switchQuestions() {
    const isOn = this.#button.ariaPressed !== 'true';
    if (!this.#hasBegun) {
      this.#button.ariaPressed = String(isOn);
      return;
    }
    if (isOn && !this.#ofQuestions) this.#back = this.#log.readingPosition;
    if (isOn || !this.#back) {
      const shown = this.toNewest(isOn);
      this.#button.ariaPressed = String(isOn);
      return shown;
    }
    const jump = this.#begin();
    this.#button.ariaPressed = 'false';
    const back = this.#back;
    if (await this.#showAround(back.seq, jump)) this.#log.returnTo(back);
  }

  /** @param {boolean} ofQuestions */
  #setOfQuestions(ofQuestions) {
    this.#ofQuestions = ofQuestions;
    this.#button.ariaPressed = String(ofQuestions);
  }

  /**
   * @param {Frame} event  that changes a message
   * @param {EventKind} kind
   */
  #change(event, { makesQuestions, changesAnswers }) {
    const { target, seq } = event;
    const before = this.#log.messageAt(target);
    this.#originals.opened?.change(event);
    this.#log.change(target, (message) => changed(message, event));
    if (this.#ofQuestions) this.#dropIfAnswered(target);
    if (this.#ofQuestions && makesQuestions && !before) this.#lookAnew(target);
    if (!changesAnswers) return;
    if (!before) {
      // The target may be an answer to a question that is shown, or has to be shown now.
      if (this.#ofQuestions || this.#log.hasQuestionBefore(target)) this.#findQuestionOf(target);
      return;
    }
    const question = this.#log.messageAt(before.reply_to ?? 0);
    if (!question || (question.asOf ?? question.seq) >= seq) return;
    if ((before.asOf ?? target) >= seq) return void this.#lookAnew(question.seq);
    const step = Number(this.#log.messageAt(target)?.answered ?? false) - Number(before.answered ?? false);
    this.#log.change(question.seq, (one) => ({ ...one, answers: (one.answers ?? 0) + step, asOf: seq }));
  }

  /** @param {number} reply */
  async #findQuestionOf(reply) {
    const originals = await this.#originals.get();
    const found = await originals?.find(reply).catch(() => undefined);
    if (found?.reply_to) await this.#lookAnew(found.reply_to);
  }

  /** @param {number} seq  of a message that may have changed in more ways than the event says */
  async #lookAnew(seq) {
    if (!this.#ofQuestions && !this.#log.messageAt(seq)) return;
    const jump = this.#jump;
    const originals = await this.#originals.get();
    const message = await originals?.refetch(seq).catch(() => undefined);
    if (!message || jump !== this.#jump) return;
    if (this.#log.messageAt(seq)) this.#log.change(seq, (one) => newest(one, message));
    else if (this.#ofQuestions && isUnanswered(message)) this.#log.put(message);
    if (this.#ofQuestions) this.#dropIfAnswered(seq);
  }

  /** @param {number} seq */
  #dropIfAnswered(seq) {
    const message = this.#log.messageAt(seq);
    if (message && !isUnanswered(message)) this.#log.remove(seq);
  }
}

/** @param {boolean} ofQuestions */
function only(ofQuestions) {
  return ofQuestions ? /** @type {const} */ ('unanswered') : undefined;
}

/**
 * @param {ShownMessage} one
 * @param {ShownMessage} other  the same message
 */
function newest(one, other) {
  return (one.asOf ?? one.seq) > (other.asOf ?? other.seq) ? one : other;
}
