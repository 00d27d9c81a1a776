import { serverNow } from './clock.js';
import { byId } from './dom.js';
import { excerptOf } from './excerpt.js';
import * as storage from './storage.js';
import { plural, text } from './strings.js';
import { WindowDraft } from './window-draft.js';

const NEAR_LIMIT = 0.9;
const touch = matchMedia('(pointer: coarse)');

/** The field where the user writes. It saves unsent text as a draft, with the message it replies to or edits. */
export class Composer {
  #limit = 0;
  /** The draft of a new message, which waits while another message is edited. */
  #draft = '';
  /** @type {Quoted | null} */
  #reply;
  /** @type {Edit | null} */
  #edit;
  /** @type {Set<number>} the messages that were edited here */
  #edited = new Set();
  /** When the next message may be sent, by the server's clock. */
  #heldUntil = 0;
  /** @type {number | undefined} */
  #tick;

  #form = byId('chat-input');
  #input = /** @type {HTMLTextAreaElement} */ (byId('chat-message-input'));
  #submit = byId('chat-message-submit');
  #ask = byId('composer-ask');
  #anonymous = byId('composer-anonymous');
  #anonymousTold = byId('composer-anonymous-told');
  #mayBeAnonymous = false;
  #about = byId('composer-about');
  #count = byId('composer-count');
  #wait = byId('composer-wait');
  #closed = byId('composer-closed');
  #storageKey;
  #stored;
  #mentions;
  #onMessage;
  #onEdit;
  #onEditOpen;
  #onEditLast;
  #onTyping;

  /** @param {ComposerCallbacks} callbacks */
  constructor({ storageKey, mentions, onMessage, onEdit, onEditOpen, onEditLast, onTyping }) {
    this.#storageKey = storageKey;
    this.#mentions = mentions;
    this.#onMessage = onMessage;
    this.#onEdit = onEdit;
    this.#onEditOpen = onEditOpen;
    this.#onEditLast = onEditLast;
    this.#onTyping = onTyping;
    this.#stored = new WindowDraft(storageKey, () => this.#forget());
    const { draft = '', reply = null, edit = null, isQuestion = false } = this.#stored.restore(this.#input.value);
    this.#draft = draft;
    this.#reply = reply;
    this.#edit = edit;
    this.#askIs(isQuestion);
    const written = edit?.message ?? draft;
    if (this.#input.value !== written) this.#input.value = written;
    this.#form.dataset.ready = '';
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#input.addEventListener('keydown', (event) => this.#key(event));
    this.#input.addEventListener('input', () => {
      this.#changed();
      if (this.#input.value.trim() && !this.#edit && !this.#isAnonymous) this.#onTyping();
    });
    this.#ask.addEventListener('click', () => {
      this.#askIs(!this.#isQuestion);
      this.#save();
      this.#input.focus();
    });
    this.#anonymous.addEventListener('click', () => {
      this.#beAnonymous(!this.#isAnonymous);
      this.#input.focus();
    });
    byId('composer-leave').addEventListener('click', () => this.#leave());
    this.#mayBeAnonymous = storage.read(`anonymous:${storageKey}`) !== null;
    this.#beAnonymous(this.#mayBeAnonymous);
    this.#showAbout();
    const risk = byId('composer-risk');
    storage.watchRisk((isAtRisk) => (risk.hidden = !isAtRisk));
    // On a phone the focus would open a keyboard over the messages.
    if (!touch.matches) this.#input.focus();
  }

  /** @param {number} length  that a message may have; 0 is no limit */
  limitTo(length) {
    this.#limit = length || Infinity;
    this.#show();
  }

  /** @param {boolean} isOpen  whether the user can write; their text can always be copied */
  open(isOpen) {
    this.#input.readOnly = !isOpen;
    for (const button of this.#form.querySelectorAll('button')) button.disabled = !isOpen;
  }

  /** @param {string} reason  why the user can't write, '' if they can; their text is kept */
  close(reason) {
    if (this.#closed.textContent === reason) return;
    this.#closed.textContent = reason;
    this.#form.classList.toggle('closed', reason !== '');
    this.#show();
  }

  /**
   * An anonymous author stays anonymous even when that is no longer allowed. In that case nothing is sent, because it
   * would be under their name.
   *
   * @param {boolean} isAllowed  whether the reader may be anonymous to classmates
   */
  allowAnonymity(isAllowed) {
    this.#mayBeAnonymous = isAllowed;
    this.#showAnonymity();
  }

  /** @param {number} time  before which no message is sent, by the server's clock */
  holdUntil(time) {
    this.#heldUntil = time;
    this.#showWait();
  }

  /** @param {ShownMessage} message */
  reply(message) {
    if (this.#hasChanges) return this.#onEditOpen(() => this.#leaveThen(() => this.reply(message)));
    if (this.#edit) this.#leave();
    if (message.own && message.anonymous) this.#beAnonymous(true);
    this.#reply = { seq: message.seq, name: message.name, excerpt: excerptOf(message, this.#mentions) };
    this.#save();
    this.#showAbout();
    this.#input.focus();
  }

  /**
   * @param {ShownMessage} message  one of the reader's own
   * @param {string} [written]  the new text, as far as it has been written
   */
  edit(message, written = message.message) {
    const { seq, message: before, asOf = seq } = message;
    if (this.#hasChanges && this.#edit?.seq === seq) return this.#input.focus();
    if (this.#hasChanges) return this.#onEditOpen(() => this.#leaveThen(() => this.edit(message, written)));
    this.#edit = { seq, before, message: written, asOf, excerpt: excerptOf(message, this.#mentions) };
    this.#fill(written);
  }

  /**
   * Resumes an edit that was refused, unless the user is editing something else.
   *
   * @param {ShownMessage} message  as it is now
   * @param {string} written
   */
  resume(message, written) {
    if (this.#hasChanges) return false;
    this.edit(message, written);
    return true;
  }

  /**
   * @param {number} seq
   * @returns {boolean} whether a message is quoted or edited
   */
  isAbout(seq) {
    return this.#reply?.seq === seq || this.#edit?.seq === seq;
  }

  /**
   * Updates the text of a message that the composer quotes or edits.
   *
   * @param {ShownMessage} message  that has been edited or deleted
   */
  follow(message) {
    const { seq, message: current, asOf = seq } = message;
    if (this.#reply?.seq === seq) this.#reply.excerpt = excerptOf(message, this.#mentions);
    if (this.#edit?.seq === seq) {
      const isUntouched = this.#edit.message === this.#edit.before && !message.deleted;
      Object.assign(this.#edit, { before: current, excerpt: excerptOf(message, this.#mentions) });
      // Otherwise, the server notices that the edit was based on another text.
      if (isUntouched) Object.assign(this.#edit, { message: current, asOf });
      if (isUntouched) this.#input.value = current;
    }
    this.#save();
    this.#showAbout();
  }

  /**
   * An edit was stored.
   *
   * @param {number} target
   * @param {number} seq  of its event
   */
  stored(target, seq) {
    if (!this.#edited.has(target) || this.#edit?.seq !== target) return;
    this.#edit.asOf = seq;
    this.#save();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    // Safari ends a composition before the key that ended it; 229 tells it from a real Enter.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === 'Escape') this.#leave();
    if (event.key === 'ArrowUp' && !this.#input.value && !this.#edit) {
      event.preventDefault();
      this.#onEditLast();
    }
    if (event.key !== 'Enter' || event.shiftKey || event.altKey) return;
    if (touch.matches && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    this.#send();
  }

  #send() {
    const message = trimmed(this.#input.value);
    this.#input.focus();
    if (!message || lengthOf(message) > this.#limit || this.#input.readOnly || this.#closed.textContent) return;
    if (this.#edit) {
      const { seq, before, asOf } = this.#edit;
      this.#leave();
      this.#edited.add(seq);
      if (message !== before) this.#onEdit(seq, message, asOf);
      return;
    }
    if (this.#heldUntil > serverNow()) return;
    this.#onMessage({
      message,
      ...(this.#reply && { reply_to: this.#reply.seq }),
      ...(this.#isQuestion && { question: true }),
      ...(this.#isAnonymous && { anonymous: true }),
    });
    this.#askIs(false);
    this.#reply = null;
    this.#fill('');
  }

  /** Whether an edit is open with changes that would be lost. */
  get #hasChanges() {
    return this.#edit !== null && this.#edit.message !== this.#edit.before;
  }

  /** @param {() => void} next  the action that the user chose instead of continuing their edit */
  #leaveThen(next) {
    if (this.#edit) this.#leave();
    next();
  }

  /** Returns from an edit to the draft, or turns a reply into an ordinary message. */
  #leave() {
    if (this.#edit) {
      this.#edit = null;
      this.#fill(this.#draft);
    } else {
      this.#reply = null;
      this.#save();
      this.#showAbout();
      this.#input.focus();
    }
  }

  /** The text no longer belongs to this window. */
  #forget() {
    this.#edit = null;
    this.#reply = null;
    this.#draft = '';
    this.#input.value = '';
    this.#askIs(false);
    this.#showAbout();
    this.#show();
  }

  /** @param {string} value */
  #fill(value) {
    this.#input.value = value;
    this.#changed();
    this.#showAbout();
    this.#input.focus();
    this.#input.setSelectionRange(value.length, value.length);
  }

  #changed() {
    const { value } = this.#input;
    if (this.#edit) this.#edit.message = value;
    else this.#draft = value;
    this.#save();
    this.#show();
  }

  #save() {
    this.#stored.save({ draft: this.#draft, reply: this.#reply, edit: this.#edit, isQuestion: this.#isQuestion });
  }

  get #isQuestion() {
    return this.#ask.ariaPressed === 'true';
  }

  /** @param {boolean} isQuestion */
  #askIs(isQuestion) {
    this.#ask.ariaPressed = String(isQuestion);
  }

  get #isAnonymous() {
    return this.#anonymous.ariaPressed === 'true';
  }

  /** @param {boolean} isAnonymous  which is stored, so that a reload never reveals the name by mistake */
  #beAnonymous(isAnonymous) {
    const key = `anonymous:${this.#storageKey}`;
    if (isAnonymous) storage.write(key, 'yes');
    else storage.remove(key);
    this.#anonymous.ariaPressed = String(isAnonymous);
    this.#showAnonymity();
  }

  #showAnonymity() {
    const isAnonymous = this.#isAnonymous;
    this.#anonymous.hidden = this.#edit !== null || !(this.#mayBeAnonymous || isAnonymous);
    const words = this.#mayBeAnonymous ? 'composer.anonymous' : 'composer.not_anonymous';
    const told = isAnonymous && !this.#edit ? text(words) : '';
    if (this.#anonymousTold.textContent !== told) this.#anonymousTold.textContent = told;
  }

  #showAbout() {
    this.#about.hidden = !this.#edit && !this.#reply;
    this.#ask.hidden = this.#edit !== null;
    this.#showAnonymity();
    const [title, excerpt] = /** @type {NodeListOf<HTMLElement>} */ (this.#about.querySelectorAll('bdi'));
    title.textContent = this.#edit ? text('composer.edit') : text('composer.reply', { name: this.#reply?.name ?? '' });
    excerpt.textContent = this.#edit ? this.#edit.excerpt : this.#reply?.excerpt ?? '';
    this.#showWait();
  }

  #showWait() {
    clearTimeout(this.#tick);
    const left = Math.ceil((this.#heldUntil - serverNow()) / 1000);
    const waits = left > 0 && !this.#edit;
    this.#submit.ariaDisabled = waits ? 'true' : null;
    this.#wait.textContent = waits ? plural('composer.wait', left) : '';
    if (waits) this.#tick = setTimeout(() => this.#showWait(), 1000);
  }

  #show() {
    this.#grow();
    const left = this.#limit - lengthOf(trimmed(this.#input.value));
    const isNear = left < this.#limit * (1 - NEAR_LIMIT);
    this.#count.textContent = isNear ? plural(left < 0 ? 'composer.over' : 'composer.left', Math.abs(left)) : '';
    this.#input.ariaInvalid = left < 0 ? 'true' : null;
  }

  /** Makes the field as high as its text, where the style sheet can't. */
  #grow() {
    if (CSS.supports('field-sizing', 'content')) return;
    this.#input.style.blockSize = 'auto';
    this.#input.style.blockSize = `${this.#input.scrollHeight}px`;
  }
}

/** @param {string} message  counted as the server does: code points after NFC */
function lengthOf(message) {
  return [...message.normalize('NFC')].length;
}

/**
 * @param {string} value
 * @returns {string} the text in the form that the server stores: the first of several lines keeps its indentation
 */
function trimmed(value) {
  const text = value.trim();
  return text.includes('\n') ? value.slice(value.lastIndexOf('\n', value.search(/\S/)) + 1).trimEnd() : text;
}
