import { setTabIndex } from './message-element.js';

/** Keyboard access to the log: Tab leads to one message, and arrow keys lead from there to the others. */
export class RovingFocus {
  /** @type {HTMLElement | undefined} the message that Tab moves to */
  #reachable;
  #log;
  #onEndKey;

  /**
   * @param {HTMLElement} log
   * @param {() => boolean} onEndKey  the reader wants the newest message; false if it is the last one here
   */
  constructor(log, onEndKey) {
    this.#log = log;
    this.#onEndKey = onEndKey;
    log.addEventListener('keydown', (event) => this.#move(event));
    log.addEventListener('focusin', ({ target }) => this.reach(messageAround(target)));
  }

  /** @param {HTMLElement | null | undefined} element  that Tab moves to from now on */
  reach(element) {
    if (!element) return;
    if (this.#reachable) setTabIndex(this.#reachable, -1);
    this.#reachable = element;
    setTabIndex(element, 0);
  }

  /** @param {HTMLElement | undefined} element  that Tab moves to, unless the reader is in the log */
  reachUnlessFocused(element) {
    if (document.activeElement === this.#log || !this.#log.contains(document.activeElement)) this.reach(element);
  }

  /** @param {HTMLElement | undefined} element  that Tab moves to if the former one was removed */
  reachIfRemoved(element) {
    if (!this.#reachable?.isConnected) this.reach(element);
  }

  /**
   * @param {HTMLElement} former
   * @param {HTMLElement} element  which replaces it
   */
  replace(former, element) {
    if (this.#reachable === former) this.reach(element);
  }

  /**
   * Keeps the focus in the log.
   *
   * @param {HTMLElement[]} elements  which are about to be removed
   * @param {HTMLElement | undefined} element  gets the focus if one of them has it
   */
  handOver(elements, element) {
    if (elements.some((one) => one.contains(document.activeElement))) element?.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  #move(event) {
    const element = messageAround(event.target);
    if (!element || event.altKey || event.ctrlKey || event.metaKey) return;
    const elements = /** @type {HTMLElement[]} */ ([...this.#log.querySelectorAll('.message')]);
    const index = elements.indexOf(element);
    const goal = { ArrowUp: index - 1, ArrowDown: index + 1, Home: 0, End: elements.length - 1 }[event.key];
    if (goal === undefined) return;
    event.preventDefault();
    if (event.key !== 'End' || !this.#onEndKey()) elements[goal]?.focus();
  }
}

/**
 * @param {EventTarget | null} target
 * @returns {HTMLElement | null}
 */
function messageAround(target) {
  return target instanceof Element ? target.closest('.message') : null;
}
