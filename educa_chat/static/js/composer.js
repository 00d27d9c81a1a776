import { byId } from './dom.js';
import { excerptOf } from './log/message-element.js';
import * as storage from './storage.js';
import { plural, text } from './strings.js';

const NEAR_LIMIT = 0.9;
const touch = matchMedia('(pointer: coarse)');

/**
 * @typedef {{seq: number, name: string, excerpt: string}} Quoted  what is replied to
 * @typedef {{seq: number, before: string, message: string}} Edit  the former text and the new one
 */

/** The field where the user writes. It keeps a text that was not sent as a draft, with what it replies to, and an edit too. */
export class Composer {
  #limit = 0;
  /** @type {Quoted | null} */
  #reply;
  /** @type {Edit | null} */
  #edit;
  /** When the next message may be sent. */
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
  #onMessage;
  #onEdit;
  #onEditLast;
  #onTyping;

  /** @param {ComposerCallbacks} callbacks */
  constructor({ storageKey, onMessage, onEdit, onEditLast, onTyping }) {
    this.#storageKey = storageKey;
    this.#onMessage = onMessage;
    this.#onEdit = onEdit;
    this.#onEditLast = onEditLast;
    this.#onTyping = onTyping;
    this.#reply = storage.readObject(`reply:${storageKey}`);
    this.#edit = storage.readObject(`edit:${storageKey}`);
    this.#input.value ||= this.#edit?.message ?? this.#draft;
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
      this.#askIs(this.#ask.ariaPressed !== 'true');
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
    // On a phone the focus would open a keyboard over the messages.
    if (!touch.matches) this.#input.focus();
  }

  /** @param {number} length  that a message may have; 0 is no limit */
  limitTo(length) {
    this.#limit = length || Infinity;
    this.#show();
  }

  /** @param {boolean} isOpen  whether anything can be written */
  open(isOpen) {
    this.#form.inert = !isOpen;
  }

  /** @param {string} reason  why the user may not write, '' if they may; their text is kept */
  close(reason) {
    if (this.#closed.textContent === reason) return;
    this.#closed.textContent = reason;
    this.#form.classList.toggle('closed', reason !== '');
    this.#show();
  }

  /**
   * An anonymous author stays anonymous, even if that is no longer allowed. Then nothing is sent, least of all under their name.
   *
   * @param {boolean} isAllowed  whether the reader may be anonymous to classmates
   */
  allowAnonymity(isAllowed) {
    this.#mayBeAnonymous = isAllowed;
    this.#showAnonymity();
  }

  /** @param {number} time  before which no message is sent */
  holdUntil(time) {
    this.#heldUntil = time;
    this.#showWait();
  }

  /** @param {ShownMessage} message */
  reply({ seq, name, message, own, anonymous }) {
    if (this.#edit) this.#leave();
    if (own && anonymous) this.#beAnonymous(true);
    this.#reply = { seq, name, excerpt: excerptOf(message) };
    storage.write(`reply:${this.#storageKey}`, JSON.stringify(this.#reply));
    this.#showAbout();
    this.#input.focus();
  }

  /** @param {ShownMessage} message  one of the reader's own */
  edit({ seq, message }) {
    this.#edit = { seq, before: message, message };
    this.#fill(message);
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
    if (!message || lengthOf(message) > this.#limit) return;
    if (this.#edit) {
      const { seq, before } = this.#edit;
      this.#leave();
      if (message !== before) this.#onEdit(seq, message);
      return;
    }
    if (this.#heldUntil > Date.now()) return;
    this.#onMessage({
      message,
      ...(this.#reply && { reply_to: this.#reply.seq }),
      ...(this.#ask.ariaPressed === 'true' && { question: true }),
      ...(this.#isAnonymous && { anonymous: true }),
    });
    this.#askIs(false);
    this.#forgetReply();
    this.#fill('');
  }

  /** Goes back from an edit to the draft, or makes a reply an ordinary message. */
  #leave() {
    if (this.#edit) {
      this.#edit = null;
      storage.remove(`edit:${this.#storageKey}`);
      this.#fill(this.#draft);
    } else {
      this.#forgetReply();
      this.#showAbout();
      this.#input.focus();
    }
  }

  #forgetReply() {
    this.#reply = null;
    storage.remove(`reply:${this.#storageKey}`);
  }

  get #draft() {
    return storage.read(`draft:${this.#storageKey}`) ?? '';
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
    const draft = `draft:${this.#storageKey}`;
    if (this.#edit) storage.write(`edit:${this.#storageKey}`, JSON.stringify({ ...this.#edit, message: value }));
    else if (value) storage.write(draft, value);
    else storage.remove(draft);
    this.#show();
  }

  /** @param {boolean} isQuestion */
  #askIs(isQuestion) {
    this.#ask.ariaPressed = String(isQuestion);
  }

  get #isAnonymous() {
    return this.#anonymous.ariaPressed === 'true';
  }

  /** @param {boolean} isAnonymous  which is stored, so that a reload names nobody by mistake */
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
    excerpt.textContent = this.#edit ? excerptOf(this.#edit.before) : this.#reply?.excerpt ?? '';
    this.#showWait();
  }

  #showWait() {
    clearTimeout(this.#tick);
    const left = Math.ceil((this.#heldUntil - Date.now()) / 1000);
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
 * @returns {string} what the server keeps of it: in several lines of code, the first one stays indented
 */
function trimmed(value) {
  const text = value.trim();
  return text.includes('\n') ? value.slice(value.lastIndexOf('\n', value.search(/\S/)) + 1).trimEnd() : text;
}
