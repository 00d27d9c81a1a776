const SVG = 'http://www.w3.org/2000/svg';

export const PIN = 'M9 4h6l-1 6 4 4H6l4-4-1-6ZM12 14v7';

/**
 * Draws an icon on 24 by 24, with a line in the colour of the text.
 *
 * @param {string} path  the `d` of an SVG path
 */
export function icon(path) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS(SVG, 'path');
  line.setAttribute('d', path);
  svg.append(line);
  return svg;
}
