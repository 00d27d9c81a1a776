/** From the server's rendering of a message to the nodes that are shown. */

/** Copied without attributes; what is not listed is replaced by what it holds. */
const ELEMENTS = new Set(['BR', 'P', 'CODE', 'PRE', 'EM', 'STRONG', 'DEL', 'UL', 'OL', 'LI', 'BLOCKQUOTE']);
const NOT_TEXT = new Set(['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT']);
const SCHEMES = new Set(['http:', 'https:', 'mailto:']);

/**
 * The server's HTML is safe already. It is rebuilt all the same, so that one mistake there is not enough.
 *
 * @param {string | undefined} html
 * @param {string} message  shown when there is no HTML
 * @returns {DocumentFragment}
 */
export function contentOf(html, message) {
  const fragment = document.createDocumentFragment();
  if (html) copy(new DOMParser().parseFromString(html, 'text/html').body, fragment);
  if (!fragment.hasChildNodes()) fragment.append(message);
  return fragment;
}

/**
 * @param {Node} source
 * @param {Node} target
 */
function copy(source, target) {
  for (const node of source.childNodes) {
    if (node instanceof Text) {
      target.appendChild(document.createTextNode(node.data));
    } else if (node instanceof Element && !NOT_TEXT.has(node.nodeName)) {
      const element = emptyCopy(node);
      copy(node, element ? target.appendChild(element) : target);
    }
  }
}

/**
 * @param {Element} element
 * @returns {HTMLElement | null} null where its content alone may be shown
 */
function emptyCopy(element) {
  if (element.nodeName === 'A') return link(element.getAttribute('href') ?? '');
  return ELEMENTS.has(element.nodeName) ? document.createElement(element.nodeName) : null;
}

/** @param {string} href */
function link(href) {
  const url = URL.canParse(href) ? new URL(href) : null;
  // A user name in front of the host is there to deceive: https://bank.example@evil.example
  if (!url || !SCHEMES.has(url.protocol) || url.username || url.password) return null;
  const anchor = document.createElement('a');
  anchor.href = url.href;
  anchor.target = '_blank';
  anchor.rel = 'noopener noreferrer nofollow';
  return anchor;
}
