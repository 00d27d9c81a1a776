import { make } from './message-view.js';
import { byId } from './page-data.js';

const SHOWN_FOR = 8000;

/** A word to the reader on what has just not worked, over the end of the log. It goes by itself. */
export class Notice {
  #line = byId('notice');
  /** @type {number | undefined} */
  #timer;

  /**
   * @param {string} words
   * @param {{label: string, onClick: () => void}} [way]  a button that leads on
   */
  tell(words, way) {
    clearTimeout(this.#timer);
    this.#line.replaceChildren(make('span', '', words));
    if (way) {
      const button = make('button', 'quiet', way.label);
      button.type = 'button';
      button.addEventListener('click', () => {
        way.onClick();
        this.#line.replaceChildren();
      });
      this.#line.append(button);
    }
    // What can be lost with it stays until it is dealt with.
    if (!way) this.#timer = setTimeout(() => this.#line.replaceChildren(), SHOWN_FOR);
  }
}
