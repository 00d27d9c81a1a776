/** All kinds of event. A module of kinds has to be listed here, and nowhere else. */

import * as marks from './marks.js';
import * as message from './message.js';
import * as reaction from './reaction.js';
import * as report from './report.js';
import * as roomRules from './room-rules.js';

/** @type {EventKind[]} */
const KINDS = [message, reaction, marks, roomRules, report].flatMap((module) => module.KINDS);
const BY_NAME = new Map(KINDS.map((kind) => [kind.name, kind]));
const BY_COMMAND_NAME = new Map(KINDS.map((kind) => [kind.commandName, kind]));

/** The actions that a message's menu can offer, in any order. */
export const ACTIONS = KINDS.flatMap(({ action }) => action ?? []);

/**
 * @param {Fields} event
 * @returns {EventKind | undefined} undefined for a kind that only a newer version knows
 */
export function kindOf({ type }) {
  return BY_NAME.get(type);
}

/**
 * @param {Fields} command
 * @returns {EventKind | undefined}
 */
export function kindOfCommand({ type }) {
  return BY_COMMAND_NAME.get(type);
}
