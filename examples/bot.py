"""A bot that answers `!ping` with `pong`: python examples/bot.py http://127.0.0.1:8000 ana educa-demo 1

It signs in with a username and a password, enters the room of a course, and resumes after a lost connection without
missing or repeating anything. It only needs aiohttp. docs/protocol.md explains every field.
"""

import asyncio
import re
import sys
from typing import Any

import aiohttp

DO_NOT_RECONNECT = {1008, 4001, 4003, 4029}


async def run(site: str, username: str, password: str, course: str) -> None:
    position: dict[str, str] = {}  # the last event that was handled: `after`, `at`, and the `epoch` of the log
    unacknowledged: dict[str, dict[str, Any]] = {}  # commands that may not be stored yet, by id
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:  # unsafe: IP addresses too
        async with http.get(f"{site}/chat/sign-in/") as page:
            token = re.search(r'name="csrf_token" value="([^"]+)"', await page.text())
        form = {"username": username, "password": password, "csrf_token": token[1] if token else "", "next": ""}
        async with http.post(f"{site}/chat/sign-in/", data=form, allow_redirects=False) as answer:
            if answer.status != 302:
                sys.exit("The username or the password is wrong.")
        while True:
            try:
                url = f"{site}/ws/chat/room/{course}/"
                async with http.ws_connect(url, protocols=["educa-chat.v1"], params=position) as socket:
                    for command in unacknowledged.values():
                        await socket.send_json(command)
                    async for message in socket:
                        frame = message.json()
                        if frame["type"] == "welcome":
                            position = {"after": str(frame["head"])} | position | {"epoch": frame["epoch"]}
                        elif frame["type"] == "reset":
                            position = {"after": str(frame["after"]), "epoch": position["epoch"]}
                        elif frame["type"] == "ack":
                            unacknowledged.pop(frame["id"], None)
                        elif frame["type"] == "error":
                            print(f"refused: {frame['code']}", flush=True)
                            if (
                                frame["code"] == "unavailable"
                            ):  # It may not be stored: close, reconnect and send it again.
                                break
                            unacknowledged.pop(frame.get("id"), None)
                        elif "seq" in frame and "datetime" in frame:  # An event of the room.
                            if frame["type"] == "chat_message" and frame["message"] == "!ping":
                                # The same id for the same event, so an answer that is sent twice is stored once.
                                id = f"pong-{position['epoch']}-{frame['seq']}"[:64]
                                reply = {"type": "message", "id": id, "message": "pong", "reply_to": frame["seq"]}
                                unacknowledged[id] = reply
                                await socket.send_json(reply)
                            position |= {"after": str(frame["seq"]), "at": frame["datetime"]}
                if socket.close_code in DO_NOT_RECONNECT:
                    sys.exit(f"The server closed the connection with {socket.close_code}.")
            except aiohttp.WSServerHandshakeError as refusal:
                if refusal.status in (400, 401, 403):
                    sys.exit(f"The server refused the connection with {refusal.status}.")
            except (aiohttp.ClientError, OSError):
                pass  # The network or the node is down.
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
