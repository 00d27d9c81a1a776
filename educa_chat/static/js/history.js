/** @import { Member, Message, Page } from './protocol.js' */

const WITHIN = 15_000;

/** An answer of the API that is no page. */
export class ApiRefusal extends Error {
  /**
   * @param {number} status
   * @param {number} retryAfter  in milliseconds, 0 when nothing was said
   */
  constructor(status, retryAfter) {
    super(`The API answered ${status}`);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether it says nothing about the reader: the server is busy, or in trouble. */
  get isPassing() {
    return this.status === 429 || this.status >= 500;
  }
}

/**
 * Loads messages of a room: the newest, the newest before a seq, or the oldest after one; all, or unanswered questions.
 *
 * @param {number | string} room
 * @param {{limit: number, before?: number, after?: number, only?: 'unanswered'}} query
 * @returns {Promise<Page>}
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
export function loadMessages(room, { limit, before, after, only }) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (before !== undefined) query.set('before', String(before));
  if (after !== undefined) query.set('after', String(after));
  if (only) query.set('only', only);
  return loadPage(`/chat/api/rooms/${room}/messages?${query}`);
}

/**
 * Loads those of these seqs, at most 50, that are messages of a room.
 *
 * @param {number | string} room
 * @param {number[]} seqs
 * @returns {Promise<Page>}
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
export function loadMessagesAt(room, seqs) {
  return loadPage(`/chat/api/rooms/${room}/messages?seqs=${seqs}`);
}

/**
 * Loads the rooms of the reader, and how much there is in each that she has not read.
 *
 * @returns {Promise<{rooms: {id: number | string, title: string, unread: number}[]}>}
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
export function loadRooms() {
  return load('/chat/api/rooms');
}

/**
 * Finds messages of a room, the best first.
 *
 * @param {number | string} room
 * @param {string} words
 * @param {AbortSignal} signal  nobody waits for the answer any more
 * @returns {Promise<Page>}
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
export function findMessages(room, words, signal) {
  return loadPage(`/chat/api/rooms/${room}/search?${new URLSearchParams({ q: words })}`, signal);
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<Page>}
 */
async function loadPage(path, signal) {
  const page = await load(path, signal);
  return { ...page, messages: page.messages.map((/** @type {Message} */ one) => ({ ...one, asOf: page.head })) };
}

/**
 * Finds members of a room by what their names begin with.
 *
 * @param {number | string} room
 * @param {string} prefix
 * @param {AbortSignal} signal  nobody waits for the answer any more
 * @returns {Promise<{members: Member[]}>}
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
export function findMembers(room, prefix, signal) {
  return load(`/chat/api/rooms/${room}/members?${new URLSearchParams({ q: prefix })}`, signal);
}

/**
 * @param {string} path  of the API
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
export async function load(path, signal) {
  const timeout = AbortSignal.timeout(WITHIN);
  const response = await fetch(path, {
    headers: { Accept: 'application/json' },
    cache: 'no-store',
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  });
  if (response.ok) return response.json();
  const seconds = Number(response.headers.get('Retry-After'));
  throw new ApiRefusal(response.status, seconds > 0 ? seconds * 1000 : 0);
}
