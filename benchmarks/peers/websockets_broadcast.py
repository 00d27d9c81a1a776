"""A chat with the library `websockets` and its `broadcast()`, which makes a frame once and never waits."""

import asyncio
import sys
from collections import defaultdict

from event import event
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main() -> None:
    rooms: defaultdict[str, set[ServerConnection]] = defaultdict(set)

    async def chat(websocket: ServerConnection) -> None:
        assert websocket.request is not None
        room = rooms[websocket.request.path]
        room.add(websocket)
        try:
            async for message in websocket:
                broadcast(room, event(message))
        finally:
            room.discard(websocket)

    async with serve(chat, "127.0.0.1", int(sys.argv[1]), compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
