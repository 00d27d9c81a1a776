import { loadStrings } from './strings.js';

/**
 * A part of the page that is loaded when it is needed for the first time, with its own strings.
 *
 * @template Module
 * @template Opened
 */
export class Part {
  /** The part, once it has been opened. @type {Opened | undefined} */
  opened;
  /** @type {Promise<Opened | undefined> | undefined} undefined: not wanted yet, or loading has failed */
  #opening;
  #load;
  #make;
  #onFailure;

  /** @param {PartCallbacks<Module, Opened>} callbacks */
  constructor({ module, strings, make, onFailure }) {
    this.#load = async () => (await Promise.all([module(), strings && loadStrings(strings)]))[0];
    this.#make = make;
    this.#onFailure = onFailure;
  }

  /** Whether it is being loaded, or has been. */
  get isWanted() {
    return this.#opening !== undefined;
  }

  /**
   * Loads the files as soon as the user may be about to open the part.
   *
   * @param {HTMLElement} button  that opens it
   */
  prefetchFor(button) {
    for (const sign of ['pointerenter', 'focus']) {
      button.addEventListener(sign, () => this.#load().catch(() => {}), { once: true });
    }
  }

  /**
   * Loads the part if need be.
   *
   * @returns {Promise<Opened | undefined>} undefined if it could not be loaded
   */
  async get() {
    this.#opening ??= this.#load().then(
      (module) => (this.opened = this.#make(module)),
      () => (this.#opening = undefined),
    );
    return this.#opening;
  }

  /**
   * Loads the part if need be, then uses it. If it can't be loaded, the user can try again.
   *
   * @param {(opened: Opened) => unknown} use
   */
  async open(use) {
    const opened = await this.get();
    if (opened) use(opened);
    else this.#onFailure(() => this.open(use));
  }

  /**
   * Uses the part if it is wanted, as soon as it is loaded.
   *
   * @param {(opened: Opened) => unknown} use
   */
  async whenOpened(use) {
    const opened = await this.#opening;
    if (opened) use(opened);
  }
}
