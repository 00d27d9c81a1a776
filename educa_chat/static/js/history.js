/** @import { Message, Page } from './protocol.js' */

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
 * Loads messages of a room, the newest without `before`.
 *
 * @param {number | string} room
 * @param {{limit: number, before?: number}} query
 * @returns {Promise<Page>}
 * @throws {ApiRefusal} and what `fetch` throws where nobody answers
 */
export async function loadMessages(room, { limit, before }) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (before !== undefined) query.set('before', String(before));
  const response = await fetch(`/api/rooms/${room}/messages?${query}`, {
    headers: { Accept: 'application/json' },
    cache: 'no-store',
    signal: AbortSignal.timeout(WITHIN),
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
