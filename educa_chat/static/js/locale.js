export const language = document.documentElement.lang;

/** The page's language with the reader's region: 3:04 PM in one region is 15:04 in another. */
export const locale = navigator.languages.find((tag) => tag.split('-')[0] === language) ?? language;
