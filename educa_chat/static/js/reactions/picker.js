import { buttonEl, byId } from '../dom.js';
import { openAt } from '../popover.js';

const OFFERED = ['👍', '❤️', '😂', '🎉', '🙏', '👏', '💡', '🤔', '👀', '✅', '❓', '😮'];
/** A character that is an emoji only with a variation selector after it (UTS #51). */
const TEXT_BY_DEFAULT = /(?:[0-9#*](?=\u20E3)|(?![0-9#*]|\p{Emoji_Presentation}|\p{Emoji_Component})\p{Emoji})(?!\p{Emoji_Modifier})/gu;
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** The panel where the reader picks an emoji: a dozen to choose from, and a field for any other. */
export class ReactionPicker {
  #panel = byId('reaction-picker');
  #form = byId('reaction-form');
  #field = /** @type {HTMLInputElement} */ (byId('reaction-field'));
  /** @type {((emoji: string) => void) | undefined} */
  #onPick;

  constructor() {
    byId('reaction-choices').append(
      ...OFFERED.map((emoji) => {
        const button = buttonEl('', emoji);
        button.addEventListener('click', () => this.#pick(emoji));
        return button;
      }),
    );
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      const emoji = this.#field.value.trim();
      if (isEmoji(emoji)) this.#pick(emoji);
      else this.#field.select();
    });
    this.#field.addEventListener('input', () => this.#field.removeAttribute('aria-invalid'));
    this.#form.addEventListener('submit', () => (this.#field.ariaInvalid = String(!isEmoji(this.#field.value.trim()))));
  }

  /**
   * @param {Element} anchor  near which it opens
   * @param {(emoji: string) => void} onPick
   */
  open(anchor, onPick) {
    this.#onPick = onPick;
    this.#field.value = '';
    this.#field.ariaInvalid = null;
    openAt(this.#panel, anchor);
    /** @type {HTMLElement | null} */ (this.#panel.querySelector('button'))?.focus();
  }

  /** @param {string} emoji */
  #pick(emoji) {
    this.#panel.hidePopover();
    // In the server's form: ❤ and ❤️ count as one.
    this.#onPick?.(emoji.replace(/\uFE0F/g, '').replace(TEXT_BY_DEFAULT, '$&\uFE0F'));
  }
}

/** @param {string} word */
function isEmoji(word) {
  return [...graphemes.segment(word)].length === 1 && /\p{Extended_Pictographic}|\p{Regional_Indicator}|\u20e3/u.test(word);
}
