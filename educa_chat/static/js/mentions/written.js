/** The syntax of mentions, the same as on the server: a username as Django allows it, after an `@` that doesn't follow a word. */

// The same ranges as in the SQL function `shorter_name`.
const LATIN = 'A-Za-z\\u00AA-\\u024F\\u1E00-\\u1EFF';
const UNSPACED =
  '\\u0E00-\\u0EFF\\u1000-\\u109F\\u1100-\\u11FF\\u1780-\\u17FF\\u2E80-\\uA4CF\\uA960-\\uA97F\\uAC00-\\uD7FF\\uF900-\\uFAFF\\uFF66-\\uFFDC\\u{20000}-\\u{3FFFF}';

// An `@` after a character of a script without spaces begins another mention.
const NAME = `(?:[\\p{L}\\p{N}_.+-]|(?<![${UNSPACED}])@)`;

/** A mention may follow a character of a script without spaces, but no other letter, because that is an e-mail address. */
const BEFORE = `(?:(?<![\\p{L}\\p{N}_@])|(?<=[${UNSPACED}]))`;

/** All mentions in a text. */
export const WRITTEN = new RegExp(`${BEFORE}@(${NAME}+)`, 'gu');

/** The mention that the user is typing, at the end of a text. */
export const BEING_WRITTEN = new RegExp(`${BEFORE}@(${NAME}*)$`, 'u');

/**
 * The last part of what follows an `@`, which may belong to the text after the name: punctuation, a character of a script without
 * spaces, or letters of one script. The SQL function `shorter_name` has the same rule.
 */
export const LAST_PART = new RegExp(`(?:[.@+_-]+|[${UNSPACED}][0-9]*|[${LATIN}0-9]+|[^${LATIN}.@+_${UNSPACED}-]+)$`, 'u');

/** The name that means everyone. */
export const EVERYBODY = 'all';
