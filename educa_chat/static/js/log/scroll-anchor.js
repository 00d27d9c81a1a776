const BOTTOM_PX = 40;

/**
 * Keeps the visible messages in place on the screen, whatever is added, changed or removed above and below them. At the
 * bottom, the newest message stays in view. The style sheet switches off the browser's own scroll anchoring, because
 * not every browser has one, and they differ.
 */
export class ScrollAnchor {
  #log;
  #isWhole;
  #onLook;
  #atBottom = true;
  /**
   * The message that is being read, unless that is the newest, and how far below the upper edge it ends. Its header may
   * disappear when messages are added above it, and the messages below it must not move.
   *
   * @type {{element: HTMLElement, end: number} | null}
   */
  #kept = null;
  /** The scroll position of the log at the last check. */
  #lastTop = 0;
  /** The request for the frame in which the anchor is restored, 0 for none. */
  #frame = 0;

  /**
   * @param {HTMLElement} log  with elements of the class `message`
   * @param {object} callbacks
   * @param {() => boolean} callbacks.isWhole  whether the log includes its newest message; if not, its end isn't the bottom
   * @param {(below: number) => void} callbacks.onLook  the reader's position may have changed: this many pixels above the end
   */
  constructor(log, { isWhole, onLook }) {
    this.#log = log;
    this.#isWhole = isWhole;
    this.#onLook = onLook;
    log.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.restore()).observe(log);
  }

  /** Whether the newest message is in view. */
  get isAtBottom() {
    return this.#atBottom;
  }

  /** The first message that the reader sees, and how many pixels below the upper edge it begins. */
  get first() {
    const elements = /** @type {NodeListOf<HTMLElement>} */ (this.#log.querySelectorAll('.message'));
    let low = 0;
    let high = elements.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { offsetTop, offsetHeight } = elements[middle];
      if (offsetTop + offsetHeight > this.#log.scrollTop) high = middle;
      else low = middle + 1;
    }
    const element = elements[low];
    return element ? { element, offset: element.offsetTop - this.#log.scrollTop } : null;
  }

  /**
   * Changes the log without moving what is being read. All changes within a frame cost one layout.
   *
   * @param {() => void} change
   */
  keep(change) {
    if (!this.#frame) {
      this.#begin();
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#followReader();
        this.restore(this.#scrolledMeanwhile);
      });
    }
    change();
  }

  /**
   * Does the same as `keep`, but with an immediate layout: for large changes.
   *
   * @param {() => void} change
   */
  keepNow(change) {
    if (!this.#frame) this.#begin();
    change();
    this.restore();
  }

  /** @param {number} scrolled  how many pixels the reader has scrolled since the anchor was taken */
  restore(scrolled = 0) {
    if (this.#atBottom) this.#log.scrollTop = this.#log.scrollHeight;
    else if (this.#kept?.element.isConnected) {
      const { element, end } = this.#kept;
      this.#log.scrollTop += this.#endOf(element) - end + scrolled;
      this.#keepFrom(element);
    }
    this.#lastTop = this.#log.scrollTop;
  }

  /**
   * @param {HTMLElement} element
   * @param {HTMLElement} other  which replaces it
   */
  replace(element, other) {
    if (this.#kept?.element === element) this.#kept.element = other;
  }

  /** Forgets the anchor: the log now shows other messages, which aren't the newest. */
  leave() {
    this.#atBottom = false;
    this.#kept = null;
  }

  /** @param {number} top  the scroll position at which the reader continues */
  go(top) {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#log.scrollTop = top;
    this.look();
  }

  goDown() {
    this.#log.scrollTop = this.#log.scrollHeight;
    this.look();
  }

  look() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    this.#lastTop = scrollTop;
    const below = scrollHeight - scrollTop - clientHeight;
    this.#atBottom = below < BOTTOM_PX && this.#isWhole();
    this.#keepFrom(this.#atBottom ? undefined : this.first?.element);
    this.#onLook(below);
  }

  #begin() {
    this.#followReader();
    if (!this.#atBottom) this.#keepFrom(this.first?.element);
    this.#lastTop = this.#log.scrollTop;
  }

  /** @param {HTMLElement} [element] */
  #keepFrom(element) {
    this.#kept = element ? { element, end: this.#endOf(element) } : null;
  }

  /** @param {HTMLElement} element */
  #endOf(element) {
    return element.getBoundingClientRect().bottom - this.#log.getBoundingClientRect().top;
  }

  /** 0 if the end may have come nearer to the reader instead. */
  get #scrolledMeanwhile() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight > 1 ? scrollTop - this.#lastTop : 0;
  }

  #scrolled() {
    // This frame's changes have moved the messages. The anchor will be restored.
    if (!this.#frame) this.look();
  }

  /** Notices that the reader has just scrolled up, before the event arrives, so that they aren't scrolled down again. */
  #followReader() {
    if (this.#atBottom && this.#log.scrollTop < this.#lastTop) this.#scrolled();
  }
}
