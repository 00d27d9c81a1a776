import { momentOf } from '../dates.js';
import { load } from '../history.js';
import { make } from '../message-view.js';
import { byId } from '../page-data.js';
import { text } from '../strings.js';

const LONGEST_TIMER = 2 ** 31 - 1;

/** @typedef {{user: string, name: string, until: string}} MutedStudent */

/** Who may not write for now, in the panel of the class. */
export class Muted {
  #panel = byId('class-bar');
  #part = byId('muted');
  #list = byId('muted-list');
  #asked = 0;
  /** @type {number | undefined} until the first of them may write again */
  #timer;

  #room;
  #onKnown;
  #lift;

  /**
   * @param {object} how
   * @param {number | string} how.room
   * @param {(muted: MutedStudent[]) => void} how.onKnown
   * @param {(user: string) => void} how.lift
   */
  constructor({ room, onKnown, lift }) {
    this.#room = room;
    this.#onKnown = onKnown;
    this.#lift = lift;
    this.#panel.addEventListener('toggle', () => this.look());
  }

  /** Asks who they are, if somebody wants to know. */
  async look() {
    clearTimeout(this.#timer);
    if (!this.#panel.matches(':popover-open')) return;
    const asked = ++this.#asked;
    const answer = await load(`/chat/api/rooms/${this.#room}/muted`).catch(() => null);
    if (answer && asked === this.#asked) this.#show(answer.muted);
  }

  /** @param {MutedStudent[]} muted  who may write again the soonest first */
  #show(muted) {
    this.#onKnown(muted);
    const hadFocus = this.#list.contains(document.activeElement);
    this.#part.hidden = !muted.length;
    this.#list.replaceChildren(...muted.map((student) => this.#lineOf(student)));
    // What had it is gone, and the panel must not be left for the top of the page.
    if (hadFocus) (this.#list.querySelector('button') ?? this.#panel.querySelector('input'))?.focus();
    if (!muted.length) return;
    const left = Date.parse(muted[0].until) - Date.now();
    this.#timer = setTimeout(() => this.look(), Math.min(Math.max(left, 0) + 500, LONGEST_TIMER));
  }

  /** @param {MutedStudent} student */
  #lineOf({ user, name, until }) {
    const line = make('li');
    const who = make('span');
    who.append(make('bdi', '', name), ' ', make('small', '', text('class.until', { time: momentOf(until) })));
    const lift = make('button', 'quiet', text('class.lift'));
    lift.type = 'button';
    lift.ariaLabel = text('class.lift_of', { name });
    lift.addEventListener('click', () => this.#lift(user));
    line.append(who, lift);
    return line;
  }
}
