/** How mentions are written, the same as on the server: a username as Django allows it after an `@` that ends no word. */

const NAME = '[\\p{L}\\p{N}_.@+-]';

/** Every mention in a text. */
export const WRITTEN = new RegExp(`(?<![\\p{L}\\p{N}_@])@(${NAME}+)`, 'gu');

/** The one that the user is typing, at the end of a text. */
export const BEING_WRITTEN = new RegExp(`(?<![\\p{L}\\p{N}_@])@(${NAME}*)$`, 'u');

/** Characters that usernames may end with, but that usually end a sentence. */
export const PUNCTUATION = /[.@+-]+$/;

/** The name that means everybody. */
export const EVERYBODY = 'all';
