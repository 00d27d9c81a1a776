"""A chat as it is often written with aiohttp: a loop that awaits `send_str` for each socket."""

import sys
from collections import defaultdict

from aiohttp import web
from event import event


def main() -> None:
    rooms: defaultdict[str, set[web.WebSocketResponse]] = defaultdict(set)

    async def serve(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(compress=False)
        await websocket.prepare(request)
        room = rooms[request.match_info["room"]]
        room.add(websocket)
        try:
            async for message in websocket:
                text = event(message.data)
                for socket in tuple(room):
                    await socket.send_str(text)
        finally:
            room.discard(websocket)
        return websocket

    app = web.Application()
    app.add_routes([web.get("/ws/chat/room/{room}/", serve)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
