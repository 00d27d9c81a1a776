"""A chat as it is often written with aiohttp: for each message a loop that awaits `send_str` for each socket."""

import json
import sys
from collections import defaultdict
from itertools import count

from aiohttp import web

from benchmarks.peers.events import encode_event


class Rooms:
    """The sockets of each room, and a number for each message."""

    def __init__(self) -> None:
        self._sockets: defaultdict[str, set[web.WebSocketResponse]] = defaultdict(set)
        self._seqs = count(1)

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(compress=False)
        await websocket.prepare(request)
        sockets = self._sockets[request.match_info["room"]]
        sockets.add(websocket)
        try:
            async for message in websocket:
                command = json.loads(message.data)
                event = encode_event(next(self._seqs), command["id"], command["message"])
                for socket in tuple(sockets):
                    await socket.send_str(event)
        finally:
            sockets.discard(websocket)
        return websocket


def main() -> None:
    app = web.Application()
    app.add_routes([web.get("/ws/chat/room/{room}/", Rooms().serve)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
