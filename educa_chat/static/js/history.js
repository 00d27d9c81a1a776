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
 * Loads messages of a room: the newest, the newest before a seq, or the oldest after one.
 *
 * @param {number | string} room
 * @param {{limit: number, before?: number, after?: number}} query
 * @returns {Promise<Page>}
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
export function loadMessages(room, { limit, before, after }) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (before !== undefined) query.set('before', String(before));
  if (after !== undefined) query.set('after', String(after));
  return load(`/api/rooms/${room}/messages?${query}`);
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
  return load(`/api/rooms/${room}/search?${new URLSearchParams({ q: words })}`, signal);
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
  return load(`/api/rooms/${room}/members?${new URLSearchParams({ q: prefix })}`, signal);
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

/**
 * @param {number | string} room
 * @param {number} seq
 * @returns {Promise<Message | undefined>} none where there is no such message
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
export async function loadMessage(room, seq) {
  const { messages } = await loadMessages(room, { limit: 1, before: seq + 1 });
  return messages.find((message) => message.seq === seq);
}
