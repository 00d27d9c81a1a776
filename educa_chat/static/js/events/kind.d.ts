// The types of what the page has to know about a kind of event. Browsers never load this.

/** Each module beside this file has one or several kinds in its `KINDS`, and the registry lists the modules. */
interface EventKind {
  /** the `type` of the event */
  name: string;
  /** the `type` of the command that becomes it */
  commandName: string;
  /** whether the event is itself a message in the log */
  isMessage?: boolean;
  /** Returns what the event changes in its target. While the command is pending, the page shows the same change. */
  change?: (message: ShownMessage, fields: Fields) => Partial<ShownMessage>;
  /** whether the target looks as if it were not stored while the command is pending */
  looksPending?: boolean;
  /** whether the target may become an unanswered question by it */
  makesQuestions?: boolean;
  /** whether a question may gain or lose an answer by it */
  changesAnswers?: boolean;
  /** Returns the line that the log shows for it between the messages. `user` is the reader. */
  systemMessage?: (event: Frame, people: { user: string; nameOf: (user: string) => string }) => string;
  /** Changes whatever else it changes in the page. */
  receive?: (event: Frame, page: RoomPage) => void;
  /** Called when the server has stored the reader's own command; `seq` is that of its event. */
  accepted?: (page: RoomPage, command: Command, seq: number) => void;
  /** how the reader gives the command */
  action?: MessageAction;
}

/** An item in the menu of a message. */
interface MessageAction {
  name: string;
  /** the `d` of an SVG path, drawn on 24 by 24 */
  icon: string;
  /** its place in the menu: the lowest comes first */
  rank: number;
  /** Returns the key of its text, if that is not its name. */
  label?: (message: ShownMessage) => string;
  /** Returns whether it is offered. */
  may: (message: ShownMessage, reader: Reader) => boolean;
  run: (message: ShownMessage, page: RoomPage, anchor: HTMLElement) => unknown;
}

/** The reader, as far as it decides what they may do. */
interface Reader {
  isInstructor: boolean;
  /** whether nobody may change anything in the room */
  isArchived: boolean;
  /** now */
  mayWrite: boolean;
  /** Returns whether they wrote a message that is shown. */
  isOwn: (seq: number) => boolean;
}

/** The parts of the page that an event can change. */
interface RoomPage {
  /** the reader */
  user: string;
  names: import('../names.js').Names;
  log: import('../log/log-view.js').LogView;
  typing: import('../typing.js').TypingLine;
  unread: import('../unread.js').Unread;
  rules: import('../room-rules.js').RoomRules;
  composer: import('../composer.js').Composer;
  outgoing: import('../outgoing.js').Outgoing;
  toast: import('../toast.js').Toast;
  pins: import('../part.js').Part<any, import('../pins/pins.js').Pins>;
  picker: import('../reactions/picker.js').ReactionPicker;
  notifications: import('../part.js').Part<any, import('../notifications/notifications.js').Notifications>;
  muted: import('../part.js').Part<any, import('../class/muted.js').Muted>;
  reports: import('../part.js').Part<any, import('../class/reports.js').Reports>;
  /** Returns a message, which may have to be loaded. */
  find: (seq: number) => Promise<ShownMessage | undefined>;
  /** Returns whether an event came after the socket was opened, and not in a replay. */
  isLive: (seq: number) => boolean;
}
