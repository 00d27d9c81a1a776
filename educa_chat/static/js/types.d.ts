// The types that many scripts share: the words of the protocol, and messages as the page shows them. Browsers never load this.

/** A user's role in a course. */
type Role = 'student' | 'assistant' | 'instructor';

/** A message in its current state, from the API or the socket. */
interface Message {
  /** its place in the room's log */
  seq: number;
  /** chosen by the client that sent it; missing if the reader must not know the author */
  id?: string;
  user: string;
  name: string;
  role: Role;
  datetime: string;
  /** as it was typed */
  message: string;
  /** rendered by the server */
  html: string;
  reply_to?: number | null;
  /** whether the reader wrote it */
  own: boolean;
  /** anonymous to students, who see a pseudonym as `user` and `name` */
  anonymous?: boolean;
  /** for instructors: the name that students see */
  pseudonym?: string;
  edited?: boolean;
  deleted?: boolean;
  pinned?: boolean;
  question?: boolean;
  /** marked as the answer to the message that it replies to */
  answered?: boolean;
  /** the number of replies that are marked as the answer to it */
  answers?: number;
  /** endorsed by an instructor */
  endorsed?: boolean;
  /** the usernames of the members whom it mentions */
  mentions?: string[];
  mentions_all?: boolean;
  reactions?: Reaction[];
  /** the newest event that it includes; its own if there is no other */
  asOf?: number;
}

interface Reaction {
  emoji: string;
  users: string[];
  /** the reader's name among them, if that is not the username */
  own?: string;
}

/** A message on the page. A pending one has the seq 0. */
interface ShownMessage extends Message {
  state?: 'pending' | 'failed';
  note?: string;
}

/** Shows the names of mentioned users, as soon as they are known. */
interface MentionNames {
  /** Highlights them. */
  mark: (body: HTMLElement, message: ShownMessage) => void;
  /** Replaces them with plain text. */
  name: (content: Node, message: ShownMessage) => void;
}

/** Further data that the look of a message depends on. */
interface MessageContext {
  reader: string;
  names: import('./names.js').Names;
  mentions: MentionNames;
  /** the message that it replies to, if that is known */
  target?: ShownMessage;
  isAnswered: boolean;
  /** always false for students */
  isReported: boolean;
}

/** A command of the user, without the id. */
type Command = { type: string; target?: number; message?: string } & Record<string, any>;

/** An event or another frame of the server. */
type Frame = { type: string } & Record<string, any>;

/** The fields of an event, or of the command that becomes it. */
type Fields = Record<string, any>;

/** A response of the API with messages. */
interface Page {
  /** the oldest first; in a search, the best */
  messages: Message[];
  head: number;
  epoch: string | number;
  /** whether there are more in the requested direction */
  more: boolean;
  /** the system messages between these messages, in order */
  lines: Frame[];
}

interface Member {
  user: string;
  name: string;
  role: Role;
}

/** The frame `error`. */
interface Refusal {
  code: string;
  message: string;
  id?: string;
  retry_after?: number;
}

/** The message that the text in the composer replies to. */
interface Quoted {
  seq: number;
  name: string;
  excerpt: string;
}

/** A message that is being edited. */
interface Edit {
  seq: number;
  /** the text that the room shows */
  before: string;
  /** the text in the composer */
  message: string;
  excerpt: string;
  /** the newest event that the author's view of the message took into account */
  asOf: number;
}

/** The user's draft. */
interface Written {
  draft?: string;
  reply?: Quoted | null;
  edit?: Edit | null;
  isQuestion?: boolean;
}

/** A message and its elements in the log. */
interface Row {
  message: ShownMessage;
  element: HTMLElement;
  /** above the first message of a day */
  dayDivider?: HTMLElement;
}

/** Where the reader is in the log. */
interface ReadingPosition {
  /** of a message that they see */
  seq: number;
  /** how many pixels below the upper edge it begins */
  offset: number;
}

/** A command that the room has not stored yet. */
interface Entry {
  id: string;
  command: Command;
  /** when the user gave it */
  datetime: string;
  /** why it is no longer sent */
  failure?: Refusal;
  tries: number;
  /** when it is sent again, if that is later */
  dueAt?: number;
  /** whether the server could not store it when it was last sent */
  isHeldUp?: boolean;
}

/** `connecting` becomes `connected` by itself. The other states wait for the user. */
type ConnectionState = 'connecting' | 'connected' | 'signed-out' | 'not-member' | 'elsewhere' | 'other-user';

// The callbacks that some classes need from the page.

interface LogCallbacks {
  /** the reader */
  user: string;
  names: import('./names.js').Names;
  mentions: MentionNames;
  /** Returns the text of a system message. */
  textOf: (event: Frame) => string;
  isReported: (seq: number) => boolean;
  /** Returns the message as if all pending commands were accepted. */
  optimistic: (message: ShownMessage) => ShownMessage;
  /** the messages that replies refer to, if the log doesn't show them */
  originals: { of: (seq: number) => ShownMessage | undefined; learn: (message: ShownMessage) => void };
  /** The reader is near the oldest message. */
  onTop: () => void;
  /** The reader is near the last message, and newer ones are missing. */
  onEnd: () => void;
  /** The reader wants the newest messages, which are missing. */
  onNewest: () => void;
  /** The reader sees the newest message. */
  onBottom: () => void;
  onAction: (action: string, message: ShownMessage, button: HTMLButtonElement) => void;
}

interface RowCallbacks {
  elementOf: (message: ShownMessage) => HTMLElement;
  /** Returns whether the unread divider is above the row. */
  isFirstUnread: (row: Row) => boolean;
  onReplaced: (former: HTMLElement, element: HTMLElement) => void;
}

interface HistoryCallbacks {
  room: number | string;
  log: import('./log/log-view.js').LogView;
  recent: import('./recent-events.js').RecentEvents;
  originals: import('./part.js').Part<any, import('./originals/originals.js').Originals>;
  /** Returns which history is shown. */
  epoch: () => string | undefined;
  /** Called before stored messages are shown. */
  onMessages: (messages: ShownMessage[]) => void;
  /** The log shows the newest messages, and none after them are missing. */
  onNewest: () => void;
  /** A jump has failed; `reason` is the key of its text. */
  onFailure: (reason: string) => void;
}

interface ConnectionCallbacks {
  /**
   * Loads the data that a socket needs before it is opened. With `asksApi`, it always asks the API, because a browser doesn't
   * say why a socket was refused.
   */
  prepare: (asksApi: boolean) => Promise<void>;
  /** Returns the address of the socket, with the position to resume from. */
  url: () => string;
  onFrame: (frame: Frame) => void;
  /** `failures` counts those since the connection was last stable. */
  onState: (state: ConnectionState, failures: number) => void;
  /** Returns whether the API knows of events that the socket has not delivered. */
  isBehind: () => Promise<boolean>;
}

interface OutboxCallbacks {
  /** Returns false without a connection. */
  send: (frame: object) => boolean;
  /** An ack is missing. */
  onOverdue: () => void;
  /** An entry is new or has changed. */
  onChange: (entry: Entry) => void;
  onRemoved: (id: string) => void;
  /** Called when commands begin or stop waiting for a server that can't store them. */
  onHeldUp: (isHeldUp: boolean) => void;
}

interface OutgoingCallbacks {
  /** of the user and the room */
  storageKey: string;
  user: string;
  /** Returns the user as pending messages name them. */
  author: () => { name: string; role: Role };
  log: import('./log/log-view.js').LogView;
  toast: import('./toast.js').Toast;
  send: OutboxCallbacks['send'];
  onOverdue: OutboxCallbacks['onOverdue'];
  onHeldUp: OutboxCallbacks['onHeldUp'];
  /** `seq` is that of its event. */
  onAccepted: (command: Command, seq: number) => void;
  /** A command other than a message was refused, so the page shows the former state again. */
  onFailed: () => void;
  /** An edit was refused, because its message has changed in another window. Returns whether the user can continue it. */
  onStaleEdit: (target: number, message: string) => boolean;
}

interface ComposerCallbacks {
  /** of the user and the room */
  storageKey: string;
  mentions: MentionNames;
  onMessage: (message: { message: string; reply_to?: number; question?: true; anonymous?: true }) => void;
  /** `asOf` is the newest event that the author's view of the message took into account. */
  onEdit: (target: number, message: string, asOf: number) => void;
  /** Another edit with unsent changes is open, so the new one was not started. */
  onEditOpen: (discard: () => void) => void;
  /** The user wants to edit their last message. */
  onEditLast: () => void;
  onTyping: () => void;
}

interface PartCallbacks<Module, Opened> {
  /** Imports the module. */
  module: () => Promise<Module>;
  /** the name of its strings, if it has its own */
  strings?: string;
  make: (module: Module) => Opened;
  /** It could not be loaded: tells the user, who may try again. */
  onFailure: (retry: () => void) => void;
}
