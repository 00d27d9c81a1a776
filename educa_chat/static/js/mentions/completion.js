import { byId, el } from '../dom.js';
import { avatar } from '../names.js';
import { load } from '../history.js';
import { plain } from '../search/plain.js';
import { plural, text } from '../strings.js';
import { BEING_WRITTEN, EVERYBODY } from './written.js';

const ASK_AFTER = 150;
const LIST = 'mention-list';

/**
 * The suggestions: members who match the name that the user is typing. The field keeps the focus, and its
 * `aria-activedescendant` says which of them Enter would take. The field stays a text box, because a text area must not
 * have the role of a combobox.
 */
export class Completion {
  #input = /** @type {HTMLTextAreaElement} */ (byId('chat-message-input'));
  #list = el('ul');
  #told = el('span', 'unseen');
  /** @type {Member[]} */
  #choices = [];
  /** The index of the member that Enter inserts; -1 for none. */
  #active = -1;
  /** @type {{start: number, name: string} | null} the name that is being typed, and where it begins */
  #written = null;
  /** The start of the name for which the user has closed the list. */
  #refusedAt = -1;
  /** @type {AbortController | undefined} */
  #asked;
  /** @type {number | undefined} */
  #timer;

  #room;
  #user;
  #mayMentionAll;

  /**
   * @param {object} how
   * @param {number | string} how.room
   * @param {string} how.user  the reader
   * @param {() => boolean} how.mayMentionAll
   */
  constructor({ room, user, mayMentionAll }) {
    this.#room = room;
    this.#user = user;
    this.#mayMentionAll = mayMentionAll;
    this.#list.id = LIST;
    this.#list.role = 'listbox';
    this.#list.ariaLabel = text('mention.title');
    this.#list.hidden = true;
    this.#told.role = 'status';
    this.#input.ariaAutoComplete = 'list';
    this.#input.closest('.composer-box')?.prepend(this.#list, this.#told);
    this.#input.addEventListener('input', () => this.look());
    this.#input.addEventListener('blur', () => this.#close());
    document.addEventListener('selectionchange', () => document.activeElement === this.#input && this.look());
    // Before the composer receives the key.
    this.#input.form?.addEventListener('keydown', (event) => this.#key(event), { capture: true });
    this.#input.form?.addEventListener('submit', () => this.#close());
    // The field keeps the focus, and a phone its keyboard.
    this.#list.addEventListener('pointerdown', (event) => event.preventDefault());
    this.#list.addEventListener('click', ({ target }) => {
      const option = target instanceof Element ? target.closest('[role=option]') : null;
      if (option) this.#choose([...this.#list.children].indexOf(option));
    });
  }

  /** Reads the name before the caret, if there is one. */
  look() {
    const written = this.#beingWritten();
    // Even if there was none before, because the user may have sent the message since.
    if (!written) this.#refusedAt = -1;
    if (written?.start === this.#written?.start && written?.name === this.#written?.name) return;
    this.#written = written;
    this.#forgetQuestion();
    if (!written || written.start === this.#refusedAt) return this.#show([]);
    // Show the members who still match. The server knows whether others match too.
    this.#show(this.#choices.filter((choice) => isMeant(choice, written.name)));
    this.#timer = setTimeout(() => this.#ask(written.name), ASK_AFTER);
  }

  #beingWritten() {
    const { value, selectionStart, selectionEnd } = this.#input;
    const found = selectionStart === selectionEnd ? BEING_WRITTEN.exec(value.slice(0, selectionStart)) : null;
    return found && { start: found.index, name: found[1] };
  }

  /** @param {string} name */
  async #ask(name) {
    const asked = new AbortController();
    this.#asked = asked;
    const answer = await findMembers(this.#room, name, asked.signal).catch(() => null);
    // If the server did not answer, the list stays as it is.
    if (asked.signal.aborted || !answer) return;
    const choices = answer.members.filter(({ user }) => user !== this.#user);
    const everybody = { user: EVERYBODY, name: text('mention.all'), role: /** @type {const} */ ('instructor') };
    if (this.#mayMentionAll() && EVERYBODY.startsWith(name.toLowerCase())) choices.unshift(everybody);
    this.#show(choices);
  }

  #forgetQuestion() {
    clearTimeout(this.#timer);
    this.#asked?.abort();
  }

  /** @param {Member[]} choices */
  #show(choices) {
    const active = this.#choices[this.#active]?.user;
    const wasOpen = !this.#list.hidden;
    this.#choices = choices;
    this.#list.hidden = choices.length === 0;
    this.#list.replaceChildren(...choices.map(optionOf));
    const isOpen = choices.length > 0;
    if (isOpen) this.#input.setAttribute('aria-controls', LIST);
    else this.#input.removeAttribute('aria-controls');
    if (isOpen || wasOpen) this.#told.textContent = isOpen ? plural('mention.found', choices.length) : '';
    // After an `@` alone, Enter sends the message, because no member is selected yet.
    const isEverybodyMeant = this.#written?.name.toLowerCase() === EVERYBODY || choices.length === 1;
    // If a member matches too, Enter doesn't mention everyone.
    const first = !this.#written?.name ? -1 : choices[0]?.user === EVERYBODY && !isEverybodyMeant ? 1 : 0;
    this.#activate(isOpen ? Math.max(first, choices.findIndex(({ user }) => user === active)) : -1);
  }

  /** @param {number} place */
  #activate(place) {
    this.#active = place;
    for (const [index, option] of [...this.#list.children].entries()) option.ariaSelected = String(index === place);
    const option = this.#list.children[place];
    option?.scrollIntoView({ block: 'nearest' });
    if (option) this.#input.setAttribute('aria-activedescendant', option.id);
    else this.#input.removeAttribute('aria-activedescendant');
  }

  #close() {
    this.#forgetQuestion();
    this.#written = null;
    this.#show([]);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    // The keys belong to an input method while it is composing.
    if (this.#list.hidden || event.target !== this.#input || event.isComposing || event.keyCode === 229) return;
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const count = this.#choices.length;
    if (event.key === 'ArrowDown') this.#activate((this.#active + 1) % count);
    else if (event.key === 'ArrowUp') this.#activate((Math.max(this.#active, 0) - 1 + count) % count);
    else if (event.key === 'Escape') {
      this.#refusedAt = this.#written?.start ?? -1;
      this.#forgetQuestion();
      this.#show([]);
    } else if ((event.key === 'Enter' || event.key === 'Tab') && this.#active >= 0) this.#choose(this.#active);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {number} place */
  #choose(place) {
    const choice = this.#choices[place];
    const written = this.#beingWritten();
    if (!choice || !written) return this.#close();
    const { value, selectionStart } = this.#input;
    const isFollowed = /^\s/.test(value.slice(selectionStart));
    const mention = `@${choice.user}${isFollowed ? '' : ' '}`;
    this.#input.focus();
    this.#input.setSelectionRange(written.start, selectionStart);
    // Unlike setting the value, this can be undone, and it notifies the composer.
    if (!document.execCommand('insertText', false, mention)) {
      this.#input.setRangeText(mention, written.start, selectionStart, 'end');
      this.#input.dispatchEvent(new Event('input', { bubbles: true }));
    }
    this.#close();
    // Not offered again if no space follows.
    this.#refusedAt = written.start;
  }
}

/**
 * @param {Member} member
 * @param {string} name  as far as it has been typed
 */
function isMeant({ user, name: fullName }, name) {
  const prefix = plain(name);
  return ` ${plain(`${user} ${fullName}`)}`.includes(` ${prefix}`);
}

/**
 * @param {Member} member
 * @param {number} place
 */
function optionOf({ user, name, role }, place) {
  const option = el('li');
  option.id = `${LIST}-${place}`;
  option.role = 'option';
  option.append(avatar({ user, name }), el('bdi', '', name), ' ', el('bdi', 'mention-user', `@${user}`));
  if (role !== 'student' && user !== EVERYBODY) option.append(' ', el('span', 'badge', text(`message.${role}`)));
  return option;
}

/**
 * Finds members of a room by the beginning of their names.
 *
 * @param {number | string} room
 * @param {string} prefix
 * @param {AbortSignal} signal  aborts the request
 * @returns {Promise<{members: Member[]}>}
 * @throws {ApiRefusal} and what `fetch` throws without a connection
 */
function findMembers(room, prefix, signal) {
  return load(`/chat/api/rooms/${room}/members?${new URLSearchParams({ q: prefix })}`, signal);
}
