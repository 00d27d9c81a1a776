/**
 * How far the log is shown, and the next events. Each event is delivered once, in the order of the log, with the data
 * that only this page has.
 */
export class EventStream {
  /** @type {{seq: number, epoch: string, datetime?: string} | null} the last event; null: nothing is shown yet */
  #position = null;
  /** The event that is by the reader or about them, according to the frame `own`. */
  #ownSeq = 0;
  /** The newest message of this page that was stored. */
  #sent = { seq: 0, id: '' };
  /** The head when the socket was opened. */
  #liveAfter = 0;
  #user;

  /** @param {string} user  the reader */
  constructor(user) {
    this.#user = user;
  }

  /** Whether a history is shown. */
  get hasBegun() {
    return this.#position !== null;
  }

  /** The seq of the last event, 0 if nothing is shown yet. */
  get seq() {
    return this.#position?.seq ?? 0;
  }

  /** The history that is shown. */
  get epoch() {
    return this.#position?.epoch;
  }

  /** @param {Page} page  the newest of a history */
  begin({ messages, head, epoch }) {
    const last = messages.at(-1);
    this.#position = { seq: head, epoch: String(epoch), datetime: last?.seq === head ? last.datetime : undefined };
  }

  /** The server's history is not the one that is shown. */
  forget() {
    this.#position = null;
  }

  /** @returns {URLSearchParams} the query of a socket that resumes after the last event */
  query() {
    if (!this.#position) throw new Error('A socket is opened from a position');
    const { seq, epoch, datetime } = this.#position;
    return new URLSearchParams({ after: String(seq), epoch, ...(datetime && { at: datetime }) });
  }

  /** @param {number} head  when the socket was opened: events up to it are replayed, and later ones are live */
  goLive(head) {
    this.#liveAfter = head;
  }

  /** @param {number} seq */
  isLive(seq) {
    return seq > this.#liveAfter;
  }

  /** @param {number} seq  of the next event, which is by or about the reader */
  markOwn(seq) {
    this.#ownSeq = seq;
  }

  /** @param {{seq: number, id: string}} message  that this page has sent, and that was stored */
  markSent({ seq, id }) {
    this.#sent = { seq, id };
  }

  /**
   * @param {Frame} event  of any kind: unknown ones have a place in the log too
   * @returns {Frame | null} null if it has already arrived
   */
  next(event) {
    if (!this.#position || event.seq <= this.#position.seq) return null;
    this.#position = { ...this.#position, seq: event.seq, datetime: event.datetime };
    const own = event.seq === this.#ownSeq || event.user === this.#user;
    // An anonymous message has no id.
    const id = event.id ?? (event.seq === this.#sent.seq ? this.#sent.id : undefined);
    return { ...event, own, ...(id !== undefined && { id }) };
  }
}
