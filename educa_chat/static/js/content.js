/** Turns the server's HTML of a message into nodes. */

/**
 * The elements that may be shown, with their attributes, by namespace: the same as in `markup/allowed.py`. Any other element is
 * replaced by its content.
 *
 * @type {Record<string, Record<string, string[]>>}
 */
const ELEMENTS = {
  'http://www.w3.org/1999/xhtml': {
    a: ['href'],
    blockquote: [],
    br: [],
    code: [],
    em: [],
    hr: [],
    li: ['value'],
    ol: [],
    p: [],
    pre: [],
    s: [],
    span: ['class'],
    strong: [],
    table: [],
    tbody: [],
    td: ['class'],
    th: ['class'],
    thead: [],
    tr: [],
    ul: [],
  },
  'http://www.w3.org/1998/Math/MathML': {
    math: ['alttext', 'display'],
    menclose: ['notation'],
    mfrac: ['linethickness'],
    mi: ['mathvariant'],
    mn: ['mathvariant'],
    mo: [
      'accent', 'fence', 'form', 'largeop', 'lspace', 'mathvariant', 'maxsize', 'minsize', 'movablelimits',
      'rspace', 'separator', 'stretchy',
    ],
    mover: ['accent'],
    mpadded: ['depth', 'height', 'lspace', 'voffset', 'width'],
    mphantom: [],
    mroot: [],
    mrow: [],
    mspace: ['depth', 'linebreak', 'width'],
    msqrt: [],
    mstyle: ['displaystyle', 'scriptlevel'],
    msub: [],
    msubsup: [],
    msup: [],
    mtable: ['columnlines', 'columnspacing', 'displaystyle', 'rowlines', 'rowspacing'],
    mtd: ['columnalign'],
    mtext: ['mathvariant'],
    mtr: [],
    munder: [],
    munderover: [],
  },
};
const CLASSES = new Set([
  'c', 'center', 'gd', 'gi', 'gp', 'k', 'kt', 'left', 'm', 'na', 'nb', 'nc', 'nd', 'nf', 'nt', 'o', 'right', 's',
]);
const SCHEMES = new Set(['http:', 'https:', 'mailto:']);
/**
 * The only policy for trusted types. The document that a text is parsed into is never shown and runs nothing.
 *
 * @type {{createHTML: (html: string) => any}}
 */
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('educa-chat', { createHTML: asIs }) ?? { createHTML: asIs };
const NOT_TEXT = new Set(['script', 'style', 'template', 'noscript']);

/**
 * Rebuilds the server's HTML. It is already safe, but one mistake on the server must not be enough for an attack.
 *
 * @param {string | undefined} html
 * @param {string} message  shown when there is no HTML
 * @returns {DocumentFragment}
 */
export function contentOf(html, message) {
  const fragment = document.createDocumentFragment();
  if (html) copy(new DOMParser().parseFromString(policy.createHTML(html), 'text/html').body, fragment);
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
    } else if (node instanceof Element && !NOT_TEXT.has(node.localName)) {
      const element = emptyCopy(node);
      copy(node, element ? target.appendChild(element) : target);
    }
  }
}

/**
 * @param {Element} element
 * @returns {Element | null} null if only its content may be shown
 */
function emptyCopy({ namespaceURI, localName, attributes }) {
  const elements = ELEMENTS[namespaceURI ?? ''] ?? {};
  if (!Object.hasOwn(elements, localName)) return null;
  const element = document.createElementNS(namespaceURI, localName);
  for (const { name, value } of attributes) {
    if (elements[localName].includes(name) && (name !== 'class' || CLASSES.has(value))) element.setAttribute(name, value);
  }
  // Translators and screen readers must not split these.
  if (['code', 'math', 'pre'].includes(localName)) element.setAttribute('translate', 'no');
  const tex = element.getAttribute('alttext');
  if (tex) element.setAttribute('aria-label', tex);
  return element instanceof HTMLAnchorElement ? asLink(element) : element;
}

/** @param {HTMLAnchorElement} anchor */
function asLink(anchor) {
  const href = anchor.getAttribute('href') ?? '';
  const url = URL.canParse(href) ? new URL(href) : null;
  // A username before the host deceives readers: https://bank.example@evil.example
  if (!url || !SCHEMES.has(url.protocol) || url.username || url.password) return null;
  anchor.href = url.href;
  anchor.target = '_blank';
  anchor.rel = 'noopener noreferrer nofollow ugc';
  return anchor;
}

/** @param {string} html */
function asIs(html) {
  return html;
}
