/** What people think of a message in one character: the chips below it, and where one picks. */

/** @import { ShownMessage } from './message-view.js' */

import { make } from './message-view.js';
import { byId } from './page-data.js';
import { openAt } from './popover.js';
import { listOf, plural, text } from './strings.js';

const NAMED = 20;
const OFFERED = ['👍', '❤️', '😂', '🎉', '🙏', '👏', '💡', '🤔', '👀', '✅', '❓', '😮'];
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/**
 * @param {ShownMessage} message
 * @param {{reader: string, nameOf: (user: string) => string}} people
 * @returns {HTMLElement[]}
 */
export function chipsOf(message, { reader, nameOf }) {
  return (message.reactions ?? []).map(({ emoji, users, own = reader }) => {
    const isMine = users.includes(own);
    const names = [
      ...(isMine ? [text('people.you')] : []),
      ...users.filter((user) => user !== own).slice(0, NAMED).map(nameOf),
    ];
    if (users.length > names.length) names.push(plural('reaction.others', users.length - names.length));
    const chip = make('button', 'chip', `${emoji} ${users.length}`);
    chip.type = 'button';
    chip.dataset.action = 'react';
    chip.dataset.value = emoji;
    chip.ariaPressed = String(isMine);
    chip.title = listOf(names);
    chip.ariaLabel = text('reaction.by', { emoji: `${emoji} ${users.length}`, names: listOf(names) });
    return chip;
  });
}

/** A dozen to choose from, and a field for any other. */
export class ReactionPicker {
  #panel = byId('reaction-picker');
  #form = byId('reaction-form');
  #field = /** @type {HTMLInputElement} */ (byId('reaction-field'));
  /** @type {((emoji: string) => void) | undefined} */
  #onPick;

  constructor() {
    byId('reaction-choices').append(
      ...OFFERED.map((emoji) => {
        const button = make('button', '', emoji);
        button.type = 'button';
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
    this.#onPick?.(emoji);
  }
}

/** @param {string} word */
function isEmoji(word) {
  return [...graphemes.segment(word)].length === 1 && /\p{Extended_Pictographic}|\p{Regional_Indicator}|\u20e3/u.test(word);
}
