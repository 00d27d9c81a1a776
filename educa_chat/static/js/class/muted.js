import { serverNow } from '../clock.js';
import { buttonEl, byId, el } from '../dom.js';
import { untilOf } from '../dates.js';
import { load as loadJson } from '../history.js';
import { text } from '../strings.js';

const MAX_TIMER_MS = 2 ** 31 - 1;

/** @typedef {{user: string, name: string, until: string}} MutedStudent */

/** The list of the muted students in the moderation panel. */
export class Muted {
  #panel = byId('moderation');
  #section = byId('muted');
  #list = byId('muted-list');
  #asked = 0;
  /** @type {number | undefined} until the next mute ends */
  #timer;

  #room;
  #onKnown;
  #onLift;

  /**
   * @param {object} room
   * @param {number | string} room.room
   * @param {(muted: MutedStudent[]) => void} room.onKnown
   * @param {(user: string) => void} room.onLift
   */
  constructor({ room, onKnown, onLift }) {
    this.#room = room;
    this.#onKnown = onKnown;
    this.#onLift = onLift;
  }

  /** Loads the list, if the panel is open. */
  async load() {
    clearTimeout(this.#timer);
    if (!this.#panel.matches(':popover-open')) return;
    const asked = ++this.#asked;
    const answer = await loadJson(`/chat/api/rooms/${this.#room}/muted`).catch(() => null);
    if (answer && asked === this.#asked) this.#show(answer.muted);
  }

  /** @param {MutedStudent[]} muted  the mute that ends first is at the front */
  #show(muted) {
    this.#onKnown(muted);
    const hadFocus = this.#list.contains(document.activeElement);
    this.#section.hidden = !muted.length;
    this.#list.replaceChildren(...muted.map((student) => this.#itemOf(student)));
    // The button that had the focus is gone. Without this the focus would move to the top of the page.
    if (hadFocus) (this.#list.querySelector('button') ?? this.#panel.querySelector('a'))?.focus();
    if (!muted.length) return;
    const left = Date.parse(muted[0].until) - serverNow();
    this.#timer = setTimeout(() => this.load(), Math.min(Math.max(left, 0) + 500, MAX_TIMER_MS));
  }

  /** @param {MutedStudent} student */
  #itemOf({ user, name, until }) {
    const item = el('li');
    const who = el('span');
    who.append(el('bdi', '', name), ' ', el('small', '', untilOf(until)));
    const lift = buttonEl('quiet', text('class.lift'));
    lift.ariaLabel = text('class.lift_of', { name });
    lift.addEventListener('click', () => this.#onLift(user));
    item.append(who, lift);
    return item;
  }
}
