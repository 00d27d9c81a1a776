"""The reading of frames, held against two readers that are not ours, on whatever Hypothesis thinks of."""

import asyncio
from collections.abc import Iterable, Sequence
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

from educa_chat.frames import Close, EmptyFragment, FailureCode, FrameInvalid, FrameReader, Message, Ping, Pong, Text
from tests.raw_socket import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, RSV2, RSV3, TEXT, frame

MAX_BYTES = 200


class Read(NamedTuple):
    """What was found in a stream, up to the close frame or the first thing that is wrong."""

    messages: list[Message]
    failure: int | None


def read(pieces: Iterable[bytes], max_bytes: int = 0) -> Read:
    """What we find."""
    reader = FrameReader(max_bytes)
    messages: list[Message] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (message := reader.read()) is not None:
                if not isinstance(message, EmptyFragment):
                    messages.append(message)
                if isinstance(message, Close):
                    return Read(messages, None)
    except FrameInvalid as error:
        return Read(messages, error.code)
    return Read(messages, None)


def read_with_websockets(pieces: Iterable[bytes]) -> Read:
    """What `websockets` finds, which leaves it to others to put fragments together and to decode them."""
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
    """What aiohttp finds."""
    loop = asyncio.new_event_loop()
    try:
        queue = WebSocketDataQueue(BaseProtocol(loop), 2**30, loop=loop)
        # It refuses what is as large as its limit.
        reader = WebSocketReader(queue, max_bytes + 1, compress=False, decode_text=True)
        # The end would make it forget an error.
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
                # It takes the code that stands for no close frame at all, which no close frame may have (§7.4.1).
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
    """A text cut anywhere, amid its characters too, with control frames between."""
    # aiohttp takes an empty first fragment for none.
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
fragment = made(st.sampled_from((TEXT, CONTINUATION, FIN | CONTINUATION)), st.binary(min_size=1, max_size=60))
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
    """A stream in pieces, cut as the network may."""
    stream = b"".join(draw(streams))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    return [stream[start:end] for start, end in pairwise((0, *cuts, len(stream)))]


@given(cut(st.lists(good, max_size=8)))
def test_whatever_is_right_is_read_as_others_read_it(pieces: list[bytes]) -> None:
    found = read(pieces)
    assert found.failure is None
    assert found == read_with_websockets(pieces) == read([b"".join(pieces)])


@given(cut(st.lists(st.one_of(good, wrong, unmasked, fragment, closing), max_size=8)))
@example([frame(TEXT, b"a"), frame(FIN | PING, b"b"), frame(FIN | CONTINUATION, b"c")])
def test_what_is_wrong_is_refused_where_and_as_websockets_does(pieces: list[bytes]) -> None:
    found, theirs = read(pieces), read_with_websockets(pieces)
    if found.messages[len(theirs.messages) :] and theirs.failure == FailureCode.PROTOCOL_ERROR:
        # It refuses a close amid a message, which may come as any control frame may (RFC 6455 §5.4).
        assert isinstance(found.messages[-1], Close)
        assert found == Read([*theirs.messages, found.messages[-1]], None)
    else:
        assert found == theirs


too_long = made(st.just(FIN | TEXT), st.binary(min_size=MAX_BYTES - 1, max_size=MAX_BYTES + 2))


@given(cut(st.lists(st.one_of(good, wrong, fragment, closing, too_long), max_size=8)))
def test_what_is_wrong_or_too_long_is_refused_where_and_as_aiohttp_does(pieces: list[bytes]) -> None:
    assert read(pieces, MAX_BYTES) == read_with_aiohttp(pieces, MAX_BYTES)


@given(cut(st.just([frame(FIN | TEXT, b"hello"), frame(TEXT, b"half of"), frame(FIN | PING)])))
def test_bytes_that_are_no_frame_yet_are_waited_for(pieces: list[bytes]) -> None:
    reader = FrameReader(0)
    for piece in pieces:
        reader.feed(piece)
    assert [reader.read(), reader.read(), reader.read()] == [Text("hello"), Ping(b""), None]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_a_message_of_every_kind_of_length_is_read_byte_by_byte(length: int) -> None:
    data = frame(FIN | TEXT, b"x" * length)
    assert read([data[n : n + 1] for n in range(len(data))]) == Read([Text("x" * length)], None)


@pytest.mark.parametrize("fragments", [(200,), (199, 1), (0, 200), (100, 0, 100)])
def test_a_message_may_be_as_long_as_the_limit_and_no_longer(fragments: Sequence[int]) -> None:
    def parts(*lengths: int) -> list[bytes]:
        return [
            frame((TEXT if not n else CONTINUATION) | (FIN if n == len(lengths) - 1 else 0), b"x" * length)
            for n, length in enumerate(lengths)
        ]

    assert read(parts(*fragments), MAX_BYTES) == Read([Text("x" * MAX_BYTES)], None)
    assert read(parts(*fragments[:-1], fragments[-1] + 1), MAX_BYTES) == Read([], FailureCode.TOO_LONG)


@pytest.mark.parametrize(
    ("head", "failure"),
    [
        (frame(FIN | TEXT, length=MAX_BYTES + 1), FailureCode.TOO_LONG),
        (frame(FIN | TEXT, length=2**64 - 1), FailureCode.TOO_LONG),
        (frame(FIN | BINARY, length=1), FailureCode.UNSUPPORTED_DATA),
        (frame(FIN | RSV1 | TEXT, length=1), FailureCode.PROTOCOL_ERROR),
        (frame(FIN | TEXT, length=1, mask=False), FailureCode.PROTOCOL_ERROR),
        (frame(FIN | PING, length=126), FailureCode.PROTOCOL_ERROR),
        (frame(FIN | CONTINUATION, length=1), FailureCode.PROTOCOL_ERROR),
    ],
)
def test_what_may_not_be_is_refused_by_its_head_alone(head: bytes, failure: FailureCode) -> None:
    assert read([head], MAX_BYTES) == Read([], failure)


def test_a_message_in_a_message_is_refused_even_if_nothing_of_the_first_has_come() -> None:
    assert read([frame(TEXT), frame(FIN | TEXT, b"x")]) == Read([], FailureCode.PROTOCOL_ERROR)


def test_a_fragment_that_brings_nothing_is_told() -> None:
    reader = FrameReader(0)
    reader.feed(frame(TEXT) + frame(CONTINUATION) * 2 + frame(CONTINUATION, b"x") + frame(FIN | CONTINUATION))
    assert [reader.read() for _ in range(4)] == [EmptyFragment(), EmptyFragment(), Text("x"), None]
