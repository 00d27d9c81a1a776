"""The load generator: `c/load.c` as a process that receives commands and answers them."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from benchmarks.machine import BUILD
from educa_chat.protocol import SUBPROTOCOL

FRAME_TEXT_BYTES = 41
"""With a text of this length, the frames of the peers and of the limit have 147 bytes."""
HANDSHAKES_AT_ONCE = 50


@dataclass(frozen=True)
class Dialect:
    """The frames that a client sends to a server. `c/load.c` replaces the names in braces with values."""

    path: str
    message: str
    """The frame of a message with the text `{mark}{fill}`."""
    subprotocol: str = ""
    greetings: Sequence[tuple[str, str]] = ()
    """Frames that a client sends first, each with a text that the server's reply to it contains."""


BASIC_FLAVOUR = Dialect("/ws/chat/room/{room}/", '{"message":"{mark}{fill}"}')
"""The basic flavour of our protocol, which the peers that store nothing also speak."""
FULL_FLAVOUR = Dialect(
    BASIC_FLAVOUR.path, '{"type":"message","id":"{mark}{nonce}","message":"{mark}{fill}"}', SUBPROTOCOL
)


class Client(NamedTuple):
    """A client: the user who opens a socket, the room, and whether the client sends messages."""

    course: int
    cookie: str
    speaks: bool = True


class Run(msgspec.Struct, frozen=True):
    """The results of one run."""

    seconds: float
    deliveries: int
    """Frames that carry a message (or acks, where those are counted), over all sockets."""
    bytes: int
    """The bytes of these frames, including their headers."""
    messages: int
    """The messages that reached all of their sockets."""
    p50_s: float
    p99_s: float
    max_s: float
    server_s: float
    """The processor time of the server's processes."""
    generator_s: float
    lost: int
    """Deliveries that never arrived."""
    late: int
    """Deliveries that arrived twice, or after they counted as lost."""
    errors: int
    holes: int
    """Events whose seq did not follow the previous one's on the same socket."""
    all_messages: int
    """Including the warm-up and everything that arrived after the run."""
    unequal: int
    """The sockets that did not receive every message exactly once."""

    @property
    def deliveries_per_s(self) -> float:
        return self.deliveries / self.seconds

    @property
    def messages_per_s(self) -> float:
        return self.messages / self.seconds

    @property
    def deliveries_per_server_s(self) -> float:
        """Return the number of deliveries per second of the server's own processor time."""
        return self.deliveries / self.server_s

    @property
    def lost_share(self) -> float:
        return self.lost / (self.deliveries + self.lost)

    def check(self) -> "Run":
        """Raise AssertionError if anything was lost, refused, out of order or repeated."""
        assert self.lost == self.late == self.errors == self.holes == self.unequal == 0, self
        return self


class Storm(msgspec.Struct, frozen=True):
    """The reconnects of sockets that had lost their node."""

    live: int
    p50_s: float
    p99_s: float
    max_s: float
    """The time from the loss of a socket's connection until it has everything up to the head."""
    retries: int
    resets: int
    holes: int


@dataclass(frozen=True)
class Load:
    """A running generator. It executes one command at a time, and answers pings in between."""

    process: subprocess.Popen[str]

    def open(self, port: int, clients: Iterable[Client]) -> float:
        """Open a socket for each of `clients`. Return the duration in seconds."""
        self._send(*(f"socket {port} {p.course} {int(p.speaks)} {p.cookie or '-'}" for p in clients))
        seconds: float = self._request(f"open {HANDSHAKES_AT_ONCE}")["seconds"]
        return seconds

    def closed(self, in_flight: int, seconds: float, done: Literal["events", "acks"] = "events") -> Run:
        """Keep `in_flight` messages under way: when one has arrived the next is said.

        One has arrived when it has come to every socket of its room, or, by `acks`, when its sender has the ack.
        """
        return msgspec.convert(self._request(f"load {in_flight} {seconds} {done}"), Run)

    def paced(self, per_second: float, seconds: float, done: Literal["events", "acks"] = "events") -> Run:
        """Send this many messages a second. Latency is measured from the time at which a message was due."""
        self.start_paced(per_second, seconds, done)
        return self.finish_paced()

    def start_paced(self, per_second: float, seconds: float, done: Literal["events", "acks"] = "events") -> None:
        self._send(f"pace {per_second} {seconds} {done}")

    def finish_paced(self) -> Run:
        return msgspec.convert(self._answer(), Run)

    def start_storm(self, port: int, seconds: float) -> None:
        """Prepare a storm: each socket that is lost reconnects at once, to `port`, and resumes. Return when this is set
        up.
        """
        self._request(f"storm {port} {seconds}")

    def finish_storm(self) -> Storm:
        return msgspec.convert(self._answer(), Storm)

    def _request(self, command: str) -> dict[str, Any]:
        self._send(command)
        return self._answer()

    def _send(self, *commands: str) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write("".join(f"{command}\n" for command in commands))
            self.process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError("the load generator has given up") from None

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator has given up")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def open_load(
    server_processes: Iterable[int],
    *,
    dialect: Dialect = FULL_FLAVOUR,
    text_bytes: int = FRAME_TEXT_BYTES,
    fill: str = "x",
) -> Iterator[Load]:
    """Start a generator that speaks `dialect` and has no sockets yet.

    The time of `server_processes` counts as the server's. A message consists of its number and of `fill`, repeated.
    """
    command = [str(BUILD / "load"), str(text_bytes), fill, dialect.subprotocol or "-", dialect.path, dialect.message]
    command += [text for greeting in dialect.greetings for text in greeting]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        load = Load(process)
        load._send(*(f"server {process_id}" for process_id in server_processes))
        yield load
    finally:
        process.kill()
        process.wait()
