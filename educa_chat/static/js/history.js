import { sessionHeaders } from './embedded.js';

const TIMEOUT_MS = 15_000;

/** A response of the API other than 200. */
export class ApiRefusal extends Error {
  /**
   * @param {number} status
   * @param {number} retryAfter  in milliseconds, 0 if the server did not say
   */
  constructor(status, retryAfter) {
    super(`The API answered ${status}`);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the server is only busy or in trouble, so that a later request may succeed. */
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
 * @throws {ApiRefusal} and what `fetch` throws without a connection
 */
export function loadMessages(room, { limit, before, after, only }) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (before !== undefined) query.set('before', String(before));
  if (after !== undefined) query.set('after', String(after));
  if (only) query.set('only', only);
  return loadPage(`/chat/api/rooms/${room}/messages?${query}`);
}

/**
 * Loads the messages with these seqs, at most 50.
 *
 * @param {number | string} room
 * @param {number[]} seqs
 * @returns {Promise<Page>}
 * @throws {ApiRefusal} and what `fetch` throws without a connection
 */
export function loadMessagesAt(room, seqs) {
  return loadPage(`/chat/api/rooms/${room}/messages?seqs=${seqs}`);
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<Page>}
 */
export async function loadPage(path, signal) {
  const page = await load(path, signal);
  return { ...page, messages: page.messages.map((/** @type {Message} */ one) => ({ ...one, asOf: page.head })) };
}

/**
 * @param {string} path  of the API
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 * @throws {ApiRefusal} and what `fetch` throws without a connection
 */
export async function load(path, signal) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const response = await fetch(path, {
    headers: { Accept: 'application/json', ...sessionHeaders() },
    cache: 'no-store',
    signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
  });
  if (response.ok) return response.json();
  const seconds = Number(response.headers.get('Retry-After'));
  throw new ApiRefusal(response.status, seconds > 0 ? seconds * 1000 : 0);
}
