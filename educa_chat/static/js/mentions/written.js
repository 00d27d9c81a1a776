/** Mentions as they are written, as the server finds them: a username of Django's behind an `@` that ends no word. */

const NAME = '[\\p{L}\\p{N}_.@+-]';

/** Every mention in a text. */
export const WRITTEN = new RegExp(`(?<![\\p{L}\\p{N}_@])@(${NAME}+)`, 'gu');

/** The one that is being written, at the end of a text. */
export const BEING_WRITTEN = new RegExp(`(?<![\\p{L}\\p{N}_@])@(${NAME}*)$`, 'u');

/** What may end a username, and in a text rather ends the sentence. */
export const PUNCTUATION = /[.@+-]+$/;

/** Who is written for everybody. */
export const EVERYBODY = 'all';
