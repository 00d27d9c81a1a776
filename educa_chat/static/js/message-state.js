/** Computes the state of a message from the events that change it and from pending commands. */

import { kindOf, kindOfCommand } from './events/registry.js';

/**
 * @param {ShownMessage} message
 * @param {Frame} event  whose target is the message
 * @returns {ShownMessage} the message after the event; an event that the message already includes changes nothing
 */
export function changed(message, event) {
  if (event.seq <= (message.asOf ?? message.seq)) return message;
  return { ...message, ...(!message.deleted && kindOf(event)?.change?.(message, event)), asOf: event.seq };
}

/** @param {ShownMessage} message */
export function isUnanswered({ question, answers, deleted }) {
  return Boolean(question) && !answers && !deleted;
}

/**
 * @param {ShownMessage} message
 * @param {Command} command  that is pending
 * @param {string} user  who gave it
 * @returns {ShownMessage} the message as if the command were accepted
 */
export function optimistic(message, command, user) {
  const kind = kindOfCommand(command);
  if (!kind?.change || message.deleted) return message;
  const state = kind.looksPending ? 'pending' : message.state;
  return { ...message, ...kind.change(message, { ...command, user, own: true }), state };
}
