"""Reading frames: compared with two other implementations, on input from Hypothesis."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

import pytest
from aiohttp import WebSocketError, WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import WebSocketReader
from aiohttp.streams import EofStream
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Close as TheirClose
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from educa_chat.frames import (
    MAX_SMALL_FRAGMENTS,
    SMALL_FRAGMENT_BYTES,
    Close,
    FailureCode,
    Fragment,
    FrameInvalid,
    FrameReader,
    Message,
    Ping,
    Pong,
    Text,
)
from tests.raw_socket import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT, frame

MAX_BYTES = 200


class Read(NamedTuple):
    """The content of a stream, up to the close frame or the first error."""

    messages: list[Message]
    failure: int | None


def read(pieces: Iterable[bytes], max_bytes: int = 0) -> Read:
    """Read the stream with our reader."""
    reader = FrameReader(max_bytes)
    messages: list[Message] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (message := reader.read()) is not None:
                if not isinstance(message, Fragment):
                    messages.append(message)
                if isinstance(message, Close):
                    return Read(messages, None)
    except FrameInvalid as error:
        return Read(messages, error.code)
    return Read(messages, None)


def read_with_websockets(pieces: Iterable[bytes]) -> Read:
    """Read the stream with `websockets`, which leaves the assembly and decoding of fragments to its caller."""
    protocol = ServerProtocol(state=State.OPEN, max_size=None)
    for piece in pieces:
        protocol.receive_data(piece)
    messages: list[Message] = []
    fragments: list[bytes] = []
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        data = bytes(event.data)
        if event.opcode is Opcode.PING:
            messages.append(Ping(data))
        elif event.opcode is Opcode.PONG:
            messages.append(Pong(data))
        elif event.opcode is Opcode.CLOSE:
            messages.append(Close(TheirClose.parse(data).code if data else None))
        elif event.opcode is Opcode.BINARY:
            return Read(messages, FailureCode.UNSUPPORTED_DATA)
        else:
            fragments.append(data)
            if event.fin:
                try:
                    messages.append(Text(b"".join(fragments).decode()))
                except UnicodeDecodeError:
                    return Read(messages, FailureCode.INVALID_TEXT)
                fragments.clear()
    if protocol.parser_exc is None:
        return Read(messages, None)
    sent = protocol.close_sent
    return Read(messages, None if sent is None else sent.code)


def read_with_aiohttp(pieces: Iterable[bytes], max_bytes: int) -> Read:
    """Read the stream with aiohttp."""
    loop = asyncio.new_event_loop()
    try:
        queue = WebSocketDataQueue(BaseProtocol(loop), 2**30, loop=loop)
        # It also refuses a message exactly as large as its limit.
        reader = WebSocketReader(queue, max_bytes + 1, compress=False, decode_text=True)
        # At the end of the stream, it would forget an error.
        if not any(reader.feed_data(piece)[0] for piece in pieces):
            reader.feed_eof()
        messages: list[Message] = []
        while True:
            try:
                message = loop.run_until_complete(queue.read())
            except EofStream:
                return Read(messages, None)
            except WebSocketError as error:
                return Read(messages, error.code)
            if message.type is WSMsgType.TEXT:
                messages.append(Text(message.data))
            elif message.type is WSMsgType.PING:
                messages.append(Ping(bytes(message.data)))
            elif message.type is WSMsgType.PONG:
                messages.append(Pong(bytes(message.data)))
            elif message.type is WSMsgType.BINARY:
                return Read(messages, FailureCode.UNSUPPORTED_DATA)
            elif message.data == 1006:
                # It accepts the code that stands for no close frame at all, which is invalid in a close frame (§7.4.1).
                return Read(messages, FailureCode.PROTOCOL_ERROR)
            else:
                messages.append(Close(message.data or None))
                return Read(messages, None)
    finally:
        loop.close()


texts = st.text(max_size=40).map(str.encode)
some_bytes = st.one_of(texts, st.binary(max_size=60))
control_bytes = st.binary(max_size=125)
close_codes = st.sampled_from((1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4029, 4999))
wrong_close_codes = st.sampled_from((0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999))


def made(first: st.SearchStrategy[int], payload: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(frame, first, payload)


def close_payload(codes: st.SearchStrategy[int], reasons: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(lambda code, reason: code.to_bytes(2, "big") + reason, codes, reasons)


whole_message = made(st.just(FIN | TEXT), texts)
control_frame = made(st.sampled_from((FIN | PING, FIN | PONG)), control_bytes)


@st.composite
def fragmented_message(draw: st.DrawFn) -> bytes:
    """A text that is cut anywhere, also within characters, with control frames in between."""
    # aiohttp ignores an empty first fragment.
    payload = draw(st.text(min_size=1, max_size=60)).encode()
    cuts = sorted(draw(st.lists(st.integers(1, len(payload)), min_size=1, max_size=5)))
    parts = [payload[start:end] for start, end in pairwise((0, *cuts, len(payload)))]
    between = draw(st.lists(control_frame, min_size=len(parts), max_size=len(parts)))
    return b"".join(
        frame((TEXT if not n else CONTINUATION) | (FIN if n == len(parts) - 1 else 0), part)
        + (control if n < len(parts) - 1 else b"")
        for n, (part, control) in enumerate(zip(parts, between, strict=True))
    )


good = st.one_of(whole_message, control_frame, fragmented_message())
# The other readers decode only whole messages, so each fragment is valid UTF-8.
fragment = made(
    st.sampled_from((TEXT, CONTINUATION, FIN | CONTINUATION)), st.text(min_size=1, max_size=40).map(str.encode)
)
closing = st.one_of(
    st.just(frame(FIN | CLOSE)),
    made(st.just(FIN | CLOSE), close_payload(close_codes, some_bytes)),
    made(st.just(FIN | CLOSE), close_payload(wrong_close_codes, texts)),
    made(st.just(FIN | CLOSE), st.binary(min_size=1, max_size=1)),
)
wrong = st.one_of(
    made(st.just(FIN | TEXT), st.binary(max_size=60)),
    made(st.sampled_from([FIN | bit | opcode for bit in (RSV1, RSV2, RSV3) for opcode in (TEXT, PING)]), texts),
    made(st.sampled_from([FIN | opcode for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)]), texts),
    made(st.sampled_from((PING, PONG, CLOSE)), texts),
    made(st.sampled_from((FIN | PING, FIN | PONG, FIN | CLOSE)), st.binary(min_size=126, max_size=200)),
    made(st.just(FIN | BINARY), some_bytes),
)
unmasked = st.builds(lambda payload: frame(FIN | TEXT, payload, mask=False), texts)


@st.composite
def cut(draw: st.DrawFn, streams: st.SearchStrategy[list[bytes]]) -> list[bytes]:
    """A stream in pieces, cut anywhere."""
    stream = b"".join(draw(streams))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[start:end] for start, end in pairwise((0, *cuts, len(stream)))]


@given(cut(st.lists(good, max_size=8)))
def test_valid_frames_are_read_as_other_implementations_read_them(pieces: list[bytes]) -> None:
    found = read(pieces)
    assert found.failure is None
    assert found == read_with_websockets(pieces) == read([b"".join(pieces)])


@given(cut(st.lists(st.one_of(good, wrong, unmasked, fragment, closing), max_size=8)))
@example([frame(TEXT, b"a"), frame(FIN | PING, b"b"), frame(FIN | CONTINUATION, b"c")])
def test_invalid_frames_are_refused_at_the_same_byte_and_with_the_same_code_as_websockets(pieces: list[bytes]) -> None:
    found, theirs = read(pieces), read_with_websockets(pieces)
    if found.messages[len(theirs.messages) :] and theirs.failure == FailureCode.PROTOCOL_ERROR:
        # It refuses a close frame within a message, which RFC 6455 §5.4 allows, as for any control frame.
        assert isinstance(found.messages[-1], Close)
        assert found == Read([*theirs.messages, found.messages[-1]], None)
    else:
        assert found == theirs


too_long = made(st.just(FIN | TEXT), st.binary(min_size=MAX_BYTES - 1, max_size=MAX_BYTES + 2))


@given(cut(st.lists(st.one_of(good, wrong, fragment, closing, too_long), max_size=8)))
def test_invalid_or_oversized_frames_are_refused_as_aiohttp_refuses_them(pieces: list[bytes]) -> None:
    ours, theirs = read(pieces, MAX_BYTES), read_with_aiohttp(pieces, MAX_BYTES)
    if ours.failure == FailureCode.PROTOCOL_ERROR and theirs.failure == FailureCode.TOO_LONG:
        # A message that begins within another and is too long as well: aiohttp checks its length first.
        assert ours.messages == theirs.messages
    else:
        assert ours == theirs


@given(cut(st.just([frame(FIN | TEXT, b"hello"), frame(TEXT, b"half of"), frame(FIN | PING)])))
def test_an_incomplete_frame_is_waited_for(pieces: list[bytes]) -> None:
    reader = FrameReader(0)
    for piece in pieces:
        reader.feed(piece)
    assert [reader.read() for _ in range(4)] == [Text("hello"), Fragment(), Ping(b""), None]


def test_messages_with_every_length_encoding_are_read_byte_by_byte() -> None:
    for length in (0, 1, 125, 126, 127, 65535, 65536):
        data = frame(FIN | TEXT, b"x" * length)
        assert read([data[n : n + 1] for n in range(len(data))]) == Read([Text("x" * length)], None), length


def test_a_message_can_be_exactly_as_long_as_the_limit() -> None:
    def parts(*lengths: int) -> list[bytes]:
        return [
            frame((TEXT if not n else CONTINUATION) | (FIN if n == len(lengths) - 1 else 0), b"x" * length)
            for n, length in enumerate(lengths)
        ]

    for fragments in ((200,), (199, 1), (0, 200), (100, 0, 100)):
        assert read(parts(*fragments), MAX_BYTES) == Read([Text("x" * MAX_BYTES)], None), fragments
        assert read(parts(*fragments[:-1], fragments[-1] + 1), MAX_BYTES) == Read([], FailureCode.TOO_LONG), fragments


def test_a_forbidden_frame_is_refused_by_its_header() -> None:
    for head, failure in (
        (frame(FIN | TEXT, length=MAX_BYTES + 1), FailureCode.TOO_LONG),
        (frame(FIN | TEXT, length=2**63 - 1), FailureCode.TOO_LONG),
        (frame(FIN | TEXT, length=2**63), FailureCode.PROTOCOL_ERROR),
        (frame(FIN | TEXT, length=2**64 - 1), FailureCode.PROTOCOL_ERROR),
        (frame(FIN | BINARY, length=1), FailureCode.UNSUPPORTED_DATA),
        (frame(FIN | RSV1 | TEXT, length=1), FailureCode.PROTOCOL_ERROR),
        (frame(FIN | TEXT, length=1, mask=False), FailureCode.PROTOCOL_ERROR),
        (frame(FIN | PING, length=126), FailureCode.PROTOCOL_ERROR),
        (frame(FIN | PING, length=126)[:2], FailureCode.PROTOCOL_ERROR),
        (frame(FIN | BINARY, length=2**16)[:2], FailureCode.UNSUPPORTED_DATA),
        (frame(FIN | CONTINUATION, length=1), FailureCode.PROTOCOL_ERROR),
    ):
        assert read([head], MAX_BYTES) == Read([], failure), head[:2]


def test_a_message_within_a_message_is_refused_even_after_an_empty_fragment() -> None:
    assert read([frame(TEXT), frame(FIN | TEXT, b"x")]) == Read([], FailureCode.PROTOCOL_ERROR)


def with_length(first: int, payload: bytes, bytes_of_length: int) -> bytes:
    """Return a frame that states the length of `payload` in 2 or 8 bytes, with a mask of zeros."""
    length = (126 if bytes_of_length == 2 else 127, *len(payload).to_bytes(bytes_of_length, "big"))
    return bytes((first, 0x80 | length[0], *length[1:], 0, 0, 0, 0)) + payload


def test_a_length_in_more_bytes_than_necessary_is_refused() -> None:
    for length, bytes_of_length, is_minimal in (
        (0, 2, False),
        (125, 2, False),
        (126, 2, True),
        (0, 8, False),
        (126, 8, False),
        (65535, 8, False),
        (65536, 8, True),
    ):
        text = "x" * length
        expected = Read([Text(text)], None) if is_minimal else Read([], FailureCode.PROTOCOL_ERROR)
        data = with_length(FIN | TEXT, text.encode(), bytes_of_length)
        assert read([data]) == read([data[:3], data[3:9], data[9:]]) == expected, (length, bytes_of_length)
        in_fragments = frame(TEXT) + with_length(FIN | CONTINUATION, text.encode(), bytes_of_length)
        assert read([in_fragments]) == expected, (length, bytes_of_length)


# Text that is not UTF-8.

COMPLETIONS = [b"", *(bytes((first,)) + b"\x80" * n for first in (0x80, 0x90, 0xA0) for n in range(3))]


def may_begin_text(data: bytes) -> bool:
    """Return whether `data` can be the beginning of UTF-8."""
    for completion in COMPLETIONS:
        with suppress(UnicodeDecodeError):
            (data + completion).decode()
            return True
    return False


nearly_utf_8 = st.lists(
    st.one_of(
        texts, st.sampled_from((0x80, 0x90, 0xA0, 0xBF, 0xC2, 0xE0, 0xED, 0xF0, 0xF4)).map(lambda n: bytes((n,)))
    ),
    max_size=8,
).map(b"".join)


@given(nearly_utf_8, st.integers(1, 5))
def test_invalid_utf_8_is_refused_at_the_first_invalid_byte(data: bytes, step: int) -> None:
    reader = FrameReader(0)
    reader.feed(frame(FIN | TEXT, length=1000))
    assert reader.read() is None
    mask = reader._message.key if reader._message else b""
    for end in range(step, len(data), step):
        reader.feed(bytes(byte ^ mask[(end - step + n) % 4] for n, byte in enumerate(data[end - step : end])))
        if not may_begin_text(data[:end]):
            with pytest.raises(FrameInvalid):
                reader.read()
            return
        assert reader.read() is None


NOT_UTF_8 = (b"\x80", b"\xc0", b"\xc3(", b"\xe0\x80", b"\xed\xa0", b"\xf0\x80", b"\xf4\x90", b"\xf5", b"\xff")


def test_invalid_utf_8_is_refused_in_its_fragment() -> None:
    for wrong in NOT_UTF_8:
        for start in (b"", "ñ€😀".encode()):
            pieces = [frame(TEXT, start), frame(CONTINUATION, wrong[:1]), frame(CONTINUATION, wrong[1:])]
            assert read([b"".join(pieces)]) == read(pieces) == Read([], FailureCode.INVALID_TEXT), wrong


def test_invalid_utf_8_is_refused_before_the_rest_of_its_frame_arrives() -> None:
    for wrong in NOT_UTF_8:
        for start in (b"", "x ñ€😀".encode()):
            head = frame(FIN | TEXT, start + wrong + b"x" * 100)[: -100 or None]
            assert read([head]) == Read([], FailureCode.INVALID_TEXT), wrong
            assert read([head[n : n + 1] for n in range(len(head))]) == Read([], FailureCode.INVALID_TEXT), wrong


def test_text_that_ends_within_a_character_is_refused() -> None:
    for cut in ("ñ".encode()[:-1], "€".encode()[:-1], "😀".encode()[:-1], "😀".encode()[:-3]):
        assert read([frame(TEXT, b"x" + cut)]) == Read([], None), cut
        assert read([frame(TEXT, b"x" + cut), frame(FIN | CONTINUATION)]) == Read([], FailureCode.INVALID_TEXT), cut
        assert read([frame(FIN | TEXT, b"x" + cut)]) == Read([], FailureCode.INVALID_TEXT), cut


# Fragments.


def fragments(count: int, payload: bytes) -> bytes:
    """Return a message in `count` fragments, each with `payload`."""
    return frame(TEXT, payload) + frame(CONTINUATION, payload) * (count - 2) + frame(FIN | CONTINUATION, payload)


def test_the_number_of_small_fragments_in_a_message_is_limited() -> None:
    for size in (0, 1, SMALL_FRAGMENT_BYTES - 1):
        for max_bytes in (0, 2**20):
            payload = b"x" * size
            expected = Read([Text("x" * size * MAX_SMALL_FRAGMENTS)], None)
            for between in (b"", frame(FIN | PONG)):
                one_after_another = fragments(MAX_SMALL_FRAGMENTS, payload) + between
                assert (
                    read([one_after_another * 2], max_bytes).messages[:: 1 + bool(between)] == expected.messages * 2
                ), (size, max_bytes)
            assert read([fragments(MAX_SMALL_FRAGMENTS + 1, payload)], max_bytes) == Read(
                [], FailureCode.POLICY_VIOLATION
            ), (size, max_bytes)
            pings = frame(TEXT) + (frame(FIN | PONG) + frame(CONTINUATION, payload)) * MAX_SMALL_FRAGMENTS
            assert read([pings], max_bytes).failure == FailureCode.POLICY_VIOLATION, (size, max_bytes)


def test_a_message_can_have_any_number_of_larger_fragments() -> None:
    payload = b"x" * SMALL_FRAGMENT_BYTES
    count = 4 * MAX_SMALL_FRAGMENTS
    assert read([fragments(count, payload)]) == Read([Text("x" * SMALL_FRAGMENT_BYTES * count)], None)


def test_pieces_of_a_frame_do_not_count_as_fragments() -> None:
    data = frame(FIN | TEXT, b"x" * 2 * MAX_SMALL_FRAGMENTS)
    assert read([data[n : n + 1] for n in range(len(data))]) == Read([Text("x" * 2 * MAX_SMALL_FRAGMENTS)], None)


# Pieces.

a_length_that_is_not_minimal = st.builds(
    with_length, st.sampled_from((FIN | TEXT, TEXT, FIN | CONTINUATION)), some_bytes, st.sampled_from((2, 8))
)
many_fragments = st.builds(fragments, st.sampled_from((2, MAX_SMALL_FRAGMENTS, MAX_SMALL_FRAGMENTS + 1)), st.just(b""))
cut_character = st.sampled_from((b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\x80", b"\xb1"))
anything = st.one_of(
    good,
    wrong,
    unmasked,
    fragment,
    closing,
    too_long,
    a_length_that_is_not_minimal,
    many_fragments,
    made(st.sampled_from((TEXT, CONTINUATION, FIN | CONTINUATION)), cut_character),
    st.binary(max_size=20),
)


@given(cut(st.lists(anything, max_size=8)), st.sampled_from((0, MAX_BYTES)))
def test_frames_are_read_alike_however_they_are_split(pieces: list[bytes], max_bytes: int) -> None:
    data = b"".join(pieces)
    byte_by_byte = [data[n : n + 1] for n in range(len(data))]
    assert read(pieces, max_bytes) == read([data], max_bytes) == read(byte_by_byte, max_bytes)


@given(cut(st.lists(good, max_size=8)))
def test_the_reader_keeps_no_data_of_messages_it_has_read(pieces: list[bytes]) -> None:
    reader = FrameReader(0)
    for piece in pieces:
        reader.feed(piece)
        while reader.read() is not None:
            pass
    assert (reader._data, reader._message, reader.has_unread) == (b"", None, False)
