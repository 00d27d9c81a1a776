/** Drawn on 24 by 24, with a line in the colour of the text. */

const SVG = 'http://www.w3.org/2000/svg';

const PATHS = {
  react: 'M12 21a9 9 0 1 1 0-18 9 9 0 0 1 0 18ZM8.5 14.5a4.2 4.2 0 0 0 7 0M9 9.5v.5M15 9.5v.5',
  reply: 'M10 5 4 11l6 6M4.5 11H14a6 6 0 0 1 6 6v2',
  more: 'M5 12h.01M12 12h.01M19 12h.01',
  edit: 'M4 20h4L19 9l-4-4L4 16v4ZM13 7l4 4',
  delete: 'M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13',
  pin: 'M9 4h6l-1 6 4 4H6l4-4-1-6ZM12 14v7',
  question: 'M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18h.01',
  answer: 'm5 12.5 4.5 4.5L19 7.5',
  endorse: 'm12 4 2.4 5 5.6.8-4 3.9.9 5.5-4.9-2.6-4.9 2.6.9-5.5-4-3.9 5.6-.8L12 4Z',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  mute: 'M5 9v6h4l5 4V5L9 9H5ZM17.5 9.5l4 5M21.5 9.5l-4 5',
  report: 'M6 21V4h12l-3 4 3 4H6',
  close: 'M6 6l12 12M18 6 6 18',
};

/** @typedef {keyof typeof PATHS} Icon */

/** @param {Icon} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}
