"""A chat as in the documentation of Starlette and FastAPI: a loop of `send_text` for each message."""

import sys
from collections import defaultdict

import uvicorn
from event import event
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

rooms: defaultdict[str, set[WebSocket]] = defaultdict(set)


async def serve(websocket: WebSocket) -> None:
    await websocket.accept()
    room = rooms[websocket.path_params["room"]]
    room.add(websocket)
    try:
        while True:
            text = event(await websocket.receive_text())
            for socket in tuple(room):
                await socket.send_text(text)
    except WebSocketDisconnect:
        room.discard(websocket)


if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/ws/chat/room/{room}/", serve)]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        ws_per_message_deflate=False,
    )
