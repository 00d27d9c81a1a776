import { subprotocols } from './embedded.js';
import { Close } from './protocol.js';
import { ApiRefusal } from './history.js';

const SHORTEST_PAUSE = 500;
const LONGEST_PAUSE = 20_000;
const STABLE_AFTER = 30_000;
const WELCOME_WITHIN = 10_000;
const SILENCE = 60_000;
const SILENCE_LOOKED_AT_EVERY = 15_000;

/** Keeps one socket to a room open. */
export class Connection {
  /** @type {ConnectionState} */
  #state = 'connecting';
  /** @type {WebSocket | null} */
  #socket = null;
  /** The number of the last attempt. Frames from earlier ones are ignored. */
  #attempt = 0;
  #failures = 0;
  #heardAt = 0;
  /** @type {number | undefined} until the next attempt */
  #pause;
  /** @type {number | undefined} until the attempt has taken too long, then until the connection is stable */
  #deadline;
  #callbacks;

  /** @param {ConnectionCallbacks} callbacks */
  constructor(callbacks) {
    this.#callbacks = callbacks;
    setInterval(() => this.#lookAtSilence(), SILENCE_LOOKED_AT_EVERY);
    addEventListener('online', () => this.wake());
    addEventListener('offline', () => this.#verify());
    document.addEventListener('visibilitychange', () => document.hidden || this.wake());
    // A page from the back/forward cache has lost its socket without noticing.
    addEventListener('pageshow', ({ persisted }) => persisted && this.connect({ ask: true }));
    for (const use of ['focus', 'pointerdown', 'keydown']) {
      addEventListener(use, () => this.#state === 'elsewhere' && this.connect());
    }
  }

  /** @param {{ask?: boolean}} [how] */
  async connect({ ask = false } = {}) {
    this.#abandon();
    const attempt = ++this.#attempt;
    this.#enter('connecting');
    try {
      await this.#callbacks.prepare(ask);
    } catch (error) {
      if (attempt === this.#attempt) this.#refused(error);
      return;
    }
    if (attempt === this.#attempt) this.#open();
  }

  /**
   * @param {object} frame
   * @returns {boolean} whether it was handed to an open socket
   */
  send(frame) {
    if (this.#state !== 'connected' || this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Abandons a useless socket, and opens another one. */
  reconnect() {
    this.#abandon();
    this.#retry({ ask: true });
  }

  /** The user or the network is back. */
  wake() {
    if (this.#state === 'connected') this.#lookAtSilence();
    else if (this.#state !== 'connecting') this.connect({ ask: true });
    else if (this.#pause !== undefined) this.connect({ ask: this.#failures > 0 });
  }

  /** @param {ConnectionState} state */
  stop(state) {
    this.#abandon();
    this.#attempt += 1;
    this.#enter(state);
  }

  /** The first frame of a socket has arrived. */
  welcomed() {
    clearTimeout(this.#deadline);
    this.#deadline = setTimeout(() => (this.#failures = 0), STABLE_AFTER);
    this.#enter('connected');
  }

  #open() {
    const socket = new WebSocket(this.#callbacks.url(), subprotocols());
    this.#socket = socket;
    this.#heardAt = Date.now();
    this.#deadline = setTimeout(() => this.reconnect(), WELCOME_WITHIN);
    // An abandoned socket may still deliver frames.
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(data);
    socket.onclose = ({ code }) => socket === this.#socket && this.#closed(code);
  }

  /** @param {string} data */
  #receive(data) {
    this.#heardAt = Date.now();
    this.#callbacks.onFrame(JSON.parse(data));
  }

  /** @param {number} code */
  #closed(code) {
    this.#abandon();
    if (code === Close.SESSION_ENDED) this.stop('signed-out');
    else if (code === Close.NOT_A_MEMBER) this.stop('not-member');
    else if (code === Close.REPLACED) this.stop('elsewhere');
    else if (code === Close.GOING_AWAY) this.#retry({});
    else if (code === Close.TOO_SLOW) this.#retry({ atOnce: this.#failures === 0 });
    else this.#retry({ ask: true });
  }

  /** @param {unknown} error  why the API returned no page */
  #refused(error) {
    if (!(error instanceof ApiRefusal)) this.#retry({ ask: true });
    else if (error.status === 401) this.stop('signed-out');
    else if (error.status === 403) this.stop('not-member');
    else this.#retry({ ask: true, atLeast: error.retryAfter });
  }

  /**
   * Tries again after a random part of a growing time, so that clients that were disconnected together don't reconnect
   * together.
   *
   * @param {{ask?: boolean, atLeast?: number, atOnce?: boolean}} how
   */
  #retry({ ask = false, atLeast = 0, atOnce = false }) {
    const longest = Math.min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** this.#failures);
    this.#pause = setTimeout(() => this.connect({ ask }), atOnce ? 0 : atLeast + Math.random() * longest);
    this.#failures += 1;
    this.#enter('connecting');
  }

  #abandon() {
    clearTimeout(this.#pause);
    clearTimeout(this.#deadline);
    this.#pause = undefined;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  /** @param {ConnectionState} state */
  #enter(state) {
    this.#state = state;
    this.#callbacks.onState(state, this.#failures);
  }

  /** Scripts don't see the server's pings, so a long silence may mean an idle room or a dead network. */
  #lookAtSilence() {
    const silence = Date.now() - this.#heardAt;
    // Negative if the clock was set back.
    if (!document.hidden && (silence > SILENCE || silence < 0)) this.#verify();
  }

  async #verify() {
    if (this.#state !== 'connected') return;
    const socket = this.#socket;
    this.#heardAt = Date.now();
    const isLost = await this.#callbacks.isBehind().catch((error) => !(error instanceof ApiRefusal && error.isPassing));
    if (isLost && socket === this.#socket) this.reconnect();
  }
}
