/** How mentions are written, the same as on the server: a username as Django allows it after an `@` that ends no word. */

const NAME = '[\\p{L}\\p{N}_.@+-]';

/** Every mention in a text. */
export const WRITTEN = new RegExp(`(?<![\\p{L}\\p{N}_@])@(${NAME}+)`, 'gu');

/** The one that the user is typing, at the end of a text. */
export const BEING_WRITTEN = new RegExp(`(?<![\\p{L}\\p{N}_@])@(${NAME}*)$`, 'u');

/** Characters that usernames may end with, but that usually end a sentence. */
export const PUNCTUATION = /[.@+-]+$/;

const UNSPACED = '\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Hangul}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}ー';

/**
 * The last part of what follows an `@`, which may belong to the text after the name: punctuation, a character of a script without
 * spaces, or letters of one script. The SQL function `shorter_name` has the same rule.
 */
export const LAST_PART = new RegExp(
  `(?:[.@+_-]+|[${UNSPACED}]\\p{N}*|[\\p{Script=Latin}\\p{N}]+|[^\\p{Script=Latin}.@+_${UNSPACED}-]+)$`,
  'u',
);

/** The name that means everybody. */
export const EVERYBODY = 'all';
