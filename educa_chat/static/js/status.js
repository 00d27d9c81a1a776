import { byId, el } from './dom.js';
import { isAtRisk } from './storage.js';
import { text } from './strings.js';

const SHORT = 2000;
const BACK_FOR = 3000;
const UNREACHABLE_AFTER = 3;

/** The status line: a dot in the header while everything works, and a bar if there is a problem. */
export class Status {
  #line = byId('status');
  /** @type {'no' | 'short' | 'long'} */
  #interruption = 'no';
  #failures = 0;
  #isConnected = false;
  /** Whether the user's messages are waiting for a server that can't store them. */
  #isHeldUp = false;
  /** @type {number | undefined} */
  #timer;

  #signInUrl;

  /** @param {string} signInUrl */
  constructor(signInUrl) {
    this.#signInUrl = signInUrl;
    // All scripts are loaded.
    this.#tell('quiet', 'connecting');
    for (const change of ['online', 'offline']) addEventListener(change, () => this.#tellInterruption());
  }

  /**
   * @param {ConnectionState} state
   * @param {number} failures  to connect
   */
  show(state, failures) {
    this.#failures = failures;
    this.#isConnected = state === 'connected';
    if (state === 'connecting') return this.#interrupted();
    clearTimeout(this.#timer);
    const wasLong = this.#interruption === 'long';
    this.#interruption = 'no';
    if (state === 'connected') this.#connected(wasLong);
    else if (state === 'signed-out') this.#tell('notice', state, text('status.sign_in'), this.#signInUrl);
    else if (state === 'other-user') this.#tell('notice', state, text('status.reload'), location.href);
    else this.#tell('notice', state);
  }

  /** @param {boolean} isHeldUp  whether the user's messages wait for a server that can't store them */
  holdUp(isHeldUp) {
    if (this.#isHeldUp === isHeldUp) return;
    this.#isHeldUp = isHeldUp;
    if (this.#isConnected) this.#connected(false);
  }

  #interrupted() {
    this.#tellInterruption();
    if (this.#interruption !== 'no') return;
    this.#interruption = 'short';
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#interruption = 'long';
      this.#tellInterruption();
    }, SHORT);
  }

  /** Doesn't report a short interruption. */
  #tellInterruption() {
    if (this.#interruption !== 'long') return;
    if (!navigator.onLine) this.#tell('notice', 'offline');
    else this.#tell('notice', this.#failures < UNREACHABLE_AFTER ? 'connecting' : 'unreachable');
  }

  /** @param {boolean} isBack  after an interruption that was shown */
  #connected(isBack) {
    clearTimeout(this.#timer);
    if (this.#isHeldUp) return this.#tell('notice', 'waiting');
    if (!isBack) return this.#tell('quiet', 'connected');
    this.#tell('back', 'back');
    this.#timer = setTimeout(() => this.#connected(false), BACK_FOR);
  }

  /**
   * @param {'quiet' | 'notice' | 'back'} look
   * @param {string} key
   * @param {string} [label]  of a link
   * @param {string} [url]  where it leads
   */
  #tell(look, key, label, url) {
    // A screen reader would read the same text again.
    if (this.#line.dataset.key === key) return;
    this.#line.dataset.key = key;
    this.#line.dataset.look = look;
    this.#line.textContent = text(`status.${key === 'signed-out' && isAtRisk() ? 'signed-out-unsaved' : key}`);
    if (!label || !url) return;
    const link = el('a', '', label);
    link.href = url;
    this.#line.append(' ', link);
  }
}
