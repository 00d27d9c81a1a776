const BOTTOM = 40;

/**
 * Where the reader is in a log. What is being read stays where it is on the screen, whatever is added, changed or taken
 * away above and below it; who is at the bottom stays there. The style sheet switches the browser's own way of doing so
 * off: not every browser has one, and they differ.
 */
export class ReadingPlace {
  #log;
  #isWhole;
  #onLook;
  #atBottom = true;
  /**
   * What is being read, where that is not the bottom, and how far below the upper edge it ends: its head may go when others
   * come above it, and what follows it is to stay.
   *
   * @type {{element: HTMLElement, end: number} | null}
   */
  #kept = null;
  /** Where the log was scrolled to when it was last looked at. */
  #lastTop = 0;
  /** The request for the frame in which the place is restored, 0 for none. */
  #frame = 0;

  /**
   * @param {HTMLElement} log  with elements of the class `message`
   * @param {object} how
   * @param {() => boolean} how.isWhole  whether the log goes on to its newest message: else its end is no bottom
   * @param {(below: number) => void} how.onLook  the reader may be elsewhere now: so many pixels above the end
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

  /** The first message that is to be seen, and where. */
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
   * Changes the log without moving what is being read. However many changes a frame brings, what they do to the layout is
   * looked at once.
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
   * Changes the log, as `keep` does, and looks at the layout at once: for what moves much.
   *
   * @param {() => void} change
   */
  keepNow(change) {
    if (!this.#frame) this.#begin();
    change();
    this.restore();
  }

  /** @param {number} scrolled  how far the reader has scrolled since the place was taken */
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
   * @param {HTMLElement} element  that another one stands in for from now on
   * @param {HTMLElement} other
   */
  replace(element, other) {
    if (this.#kept?.element === element) this.#kept.element = other;
  }

  /** What was read is not there any more, and what is there now is not the newest. */
  leave() {
    this.#atBottom = false;
    this.#kept = null;
  }

  /** @param {number} top  where to read on */
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
    this.#atBottom = below < BOTTOM && this.#isWhole();
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

  /** Nothing where the end may have come nearer to her instead. */
  get #scrolledMeanwhile() {
    const { scrollHeight, scrollTop, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight > 1 ? scrollTop - this.#lastTop : 0;
  }

  #scrolled() {
    // What has changed in this frame moved the messages; where they belong is known.
    if (!this.#frame) this.look();
  }

  /** A reader who has just scrolled up is not to be taken down again, though the event is yet to come. */
  #followReader() {
    if (this.#atBottom && this.#log.scrollTop < this.#lastTop) this.#scrolled();
  }
}
