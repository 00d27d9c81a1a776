import { copyText } from './clipboard.js';
import { timeOf } from './dates.js';
import { optimistic } from './message-state.js';
import { Outbox, isMessage } from './outbox.js';
import { text } from './strings.js';

const MENTIONED_DELAY_MS = 10_000;

/** The reader's commands that the room has not stored yet: the outbox sends them, and the page shows them as pending. */
export class Outgoing {
  #outbox;
  #user;
  #author;
  #log;
  #toast;
  #onAccepted;
  #onFailed;
  #onStaleEdit;

  /** @param {OutgoingCallbacks} callbacks */
  constructor({ storageKey, user, author, log, toast, send, onOverdue, onAccepted, onFailed, onStaleEdit, onHeldUp }) {
    this.#user = user;
    this.#author = author;
    this.#log = log;
    this.#toast = toast;
    this.#onAccepted = onAccepted;
    this.#onFailed = onFailed;
    this.#onStaleEdit = onStaleEdit;
    this.#outbox = new Outbox(storageKey, {
      send,
      onOverdue,
      onHeldUp,
      onChange: (entry) => this.#show(entry),
      onRemoved: (id) => log.removePending(id),
    });
  }

  /** Continues with the commands that an earlier page left. */
  restore() {
    this.#outbox.restore();
    this.showPending();
  }

  /** Shows the pending messages in the log, which may be a new one. */
  showPending() {
    for (const entry of this.#outbox.entries()) {
      if (isMessage(entry)) this.#log.showPending(this.#pendingMessage(entry));
    }
  }

  /** @param {Command} command */
  add(command) {
    this.#outbox.add(command);
  }

  /** @param {string} id */
  retry(id) {
    this.#outbox.retry(id);
  }

  /** @param {string} id */
  discard(id) {
    this.#outbox.discard(id);
  }

  /** @param {boolean} isConnected */
  setConnected(isConnected) {
    if (isConnected) this.#outbox.connected();
    else this.#outbox.disconnected();
  }

  /** @param {ShownMessage[]} messages  that are stored, whether or not they were written on this page */
  stored(messages) {
    for (const { own, id } of messages) if (own && id) this.#outbox.stored(id);
  }

  /**
   * @param {ShownMessage} message
   * @returns {ShownMessage} the message as if all pending commands were accepted
   */
  optimistic(message) {
    return this.#outbox.commandsOn(message.seq).reduce((now, command) => optimistic(now, command, this.#user), message);
  }

  /**
   * @param {Frame} ack
   * @param {boolean} isShown  whether its event has already arrived; usually it arrives next
   * @returns {boolean} whether it is about a message
   */
  acknowledged({ id, seq, datetime }, isShown) {
    const entry = this.#outbox.stored(id, seq);
    if (!entry) return false;
    this.#onAccepted(entry.command, seq);
    if (!isMessage(entry)) {
      if (isShown) this.#log.change(entry.command.target ?? 0);
      return false;
    }
    if (isShown) this.#log.removePending(id);
    else this.#log.showPending({ ...this.#pendingMessage(entry), datetime, state: undefined });
    return true;
  }

  /** @param {Refusal} refusal */
  refused(refusal) {
    this.#outbox.refused(refusal);
  }

  /** @param {Entry} entry  that is new or has changed */
  #show(entry) {
    const { command, failure } = entry;
    if (isMessage(entry)) return this.#log.showPending(this.#pendingMessage(entry));
    this.#log.change(command.target ?? 0);
    if (!failure) return;
    // The page no longer shows it, except for text that the user may want to keep.
    this.#outbox.discard(entry.id);
    this.#log.change(command.target ?? 0);
    this.#onFailed();
    const written = command.message ?? command.reason;
    if (failure.code === 'changed' && this.#onStaleEdit(command.target ?? 0, written)) return this.#toast.show(failure.message);
    const action = written ? { label: text('notice.copy'), onClick: () => copyText(written) } : undefined;
    this.#toast.show(failure.message, action);
  }

  /**
   * @param {Entry} entry
   * @returns {ShownMessage}
   */
  #pendingMessage({ id, command, datetime, failure, dueAt }) {
    return {
      ...this.#author(),
      ...(command.anonymous && { name: text('message.anonymous') }),
      id,
      seq: 0,
      user: this.#user,
      own: true,
      anonymous: Boolean(command.anonymous),
      datetime,
      message: command.message ?? '',
      html: '',
      reply_to: command.reply_to,
      question: command.question,
      state: failure ? 'failed' : 'pending',
      note: failure ? reasonOf(failure.code) : delayUntil(dueAt),
    };
  }
}

/** @param {number} [dueAt] */
function delayUntil(dueAt = 0) {
  if (dueAt - Date.now() <= MENTIONED_DELAY_MS) return '';
  return text('message.postponed', { time: timeOf(new Date(dueAt)) });
}

/** @param {string} code */
function reasonOf(code) {
  const key = `failure.${code}`;
  return text(key) === key ? text('failure.other') : text(key);
}
