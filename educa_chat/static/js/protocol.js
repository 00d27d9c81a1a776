/**
 * The words of the protocol that the room page speaks.
 *
 * @typedef {object} Message  A message as it stands now, whether the API or the socket brought it.
 * @property {number} seq  its place in the room's log
 * @property {string} [id]  made by who sent it; not there where the reader must not know who that is
 * @property {string} user
 * @property {string} name
 * @property {'student' | 'instructor'} role
 * @property {string} datetime
 * @property {string} message  as it was typed
 * @property {string} html  rendered by the server
 * @property {number | null} [reply_to]
 * @property {boolean} own  whether it is the reader's
 * @property {boolean} [anonymous]  to students, who see a pseudonym as `user` and `name`
 * @property {string} [pseudonym]  for instructors: what students see
 * @property {boolean} [edited]
 * @property {boolean} [deleted]
 * @property {boolean} [pinned]
 * @property {boolean} [question]
 * @property {boolean} [answered]  marked as the answer to what it replies to
 * @property {number} [answers]  how many replies are marked as the answer to it
 * @property {boolean} [endorsed]  by an instructor
 * @property {string[]} [mentions]  the usernames of the members whom it mentions
 * @property {boolean} [mentions_all]
 * @property {Reaction[]} [reactions]
 * @property {number} [asOf]  the newest event that it takes into account; its own where there is none
 *
 * @typedef {{emoji: string, users: string[], own?: string}} Reaction  where `own` is the reader's name among them, if it is not
 *     the username
 *
 * @typedef {{type: string, target?: number, message?: string} & Record<string, any>} Command  What the reader asks for,
 *     without the id.
 *
 * @typedef {object} Page  What the API answers.
 * @property {Message[]} messages  the oldest first; of a search, the best
 * @property {number} head
 * @property {string | number} epoch
 * @property {boolean} more  whether there are more in the direction that was asked for
 * @property {Frame[]} lines  the events that stand among the messages, in order
 *
 * @typedef {{user: string, name: string, role: 'student' | 'instructor'}} Member
 *
 * @typedef {object} Refusal  The frame `error`.
 * @property {string} code
 * @property {string} message
 * @property {string} [id]
 * @property {number} [retry_after]
 *
 * @typedef {{type: string} & Record<string, any>} Frame
 */

export const SUBPROTOCOL = 'educa-chat.v1';

export const Close = Object.freeze({
  GOING_AWAY: 1001,
  SESSION_ENDED: 4001,
  NOT_A_MEMBER: 4003,
  TOO_SLOW: 4008,
  REPLACED: 4029,
});
