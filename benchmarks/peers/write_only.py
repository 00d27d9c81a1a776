"""A server that only writes: it counts the messages that come in and writes as many ready-made frames to each socket.

No event loop, no WebSocket library, nothing decoded or encoded: what is left is the kernel's work, in Python. What
comes in within one turn goes out in one write a socket. It shows how much the load generator can take in.
"""

import base64
import hashlib
import re
import select
import socket
import sys
from collections import Counter, defaultdict

from benchmarks.generator import TEXT, TEXT_MARK
from benchmarks.peers.events import encode_event
from educa_chat.protocol import text_frame

HANDSHAKE_BYTES = 16384
READ_BYTES = 65536
FRAME = text_frame(encode_event(100000, "@100000", TEXT.decode()).encode())


def main() -> None:
    rooms: defaultdict[bytes, set[socket.socket]] = defaultdict(set)
    open_sockets: dict[int, tuple[socket.socket, bytes]] = {}
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024) as listener, select.epoll() as poll:
        poll.register(listener, select.EPOLLIN)
        while True:
            said: Counter[bytes] = Counter()
            for number, _ in poll.poll():
                if number == listener.fileno():
                    connection, _ = listener.accept()
                    room = _shake_hands(connection)
                    if room is None:
                        connection.close()
                        continue
                    rooms[room].add(connection)
                    open_sockets[connection.fileno()] = connection, room
                    poll.register(connection, select.EPOLLIN)
                    continue
                connection, room = open_sockets[number]
                if data := _read(connection):
                    said[room] += data.count(TEXT_MARK)
                else:
                    poll.unregister(connection)
                    rooms[room].discard(connection)
                    del open_sockets[number]
                    connection.close()
            for room, messages in said.items():
                frames = FRAME * messages
                for connection in rooms[room]:
                    connection.sendall(frames)


def _shake_hands(connection: socket.socket) -> bytes | None:
    """Answer the request for an upgrade and return its path; None for a connection that asked for nothing."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = b""
    while b"\r\n\r\n" not in request:
        data = connection.recv(HANDSHAKE_BYTES)
        if not data:
            return None
        request += data
    key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", request)
    if key is None:
        return None
    accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    return request.split(b" ", 2)[1]


def _read(connection: socket.socket) -> bytes:
    try:
        return connection.recv(READ_BYTES)
    except ConnectionError:
        return b""


if __name__ == "__main__":
    main()
