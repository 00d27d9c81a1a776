import { buttonEl, byId, el } from './dom.js';

const SHOWN_FOR_MS = 8000;

/** A short message over the end of the log about what has just happened or failed. It disappears by itself. */
export class Toast {
  #box = byId('notice');
  /** @type {number | undefined} */
  #timer;

  /**
   * @param {string} words
   * @param {{label: string, onClick: () => void}} [action]  a button; the toast then stays until the user presses it
   */
  show(words, action) {
    clearTimeout(this.#timer);
    this.#box.replaceChildren(el('span', '', words));
    if (action) {
      const button = buttonEl('quiet', action.label);
      button.addEventListener('click', () => {
        this.#box.replaceChildren();
        action.onClick();
      });
      this.#box.append(button);
    } else {
      this.#timer = setTimeout(() => this.#box.replaceChildren(), SHOWN_FOR_MS);
    }
  }
}
