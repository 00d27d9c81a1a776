/** @import { Names } from '../names.js' */
/** @import { RoomRules } from '../room-rules.js' */

import { byId } from '../dom.js';
import { ClassBar } from './class-bar.js';
import { Muted } from './muted.js';

/** The panel where instructors lead the class. */
export class ClassPanel {
  #panel = byId('class-bar');
  #bar;
  #muted;
  #rules;

  /**
   * @param {object} room
   * @param {number | string} room.room
   * @param {RoomRules} room.rules
   * @param {Names} room.names
   * @param {(command: Command) => void} room.onCommand
   */
  constructor({ room, rules, names, onCommand }) {
    this.#rules = rules;
    this.#bar = new ClassBar(onCommand);
    this.#muted = new Muted({
      room,
      onKnown: (muted) => names.learn(muted),
      onLift: (student) => onCommand({ type: 'mute', user: student, minutes: 0 }),
    });
    this.showRules();
    // Until now nobody could answer.
    this.#panel.inert = false;
  }

  showRules() {
    this.#bar.show(this.#rules);
  }

  /** Loads who is muted, if the panel is open. */
  loadMuted() {
    this.#muted.load();
  }
}
