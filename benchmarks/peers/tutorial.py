"""The tutorial's stack: Django Channels, channels_redis and Daphne, with its consumer but for database and user.

Run with the port, and the URL of a Redis.
"""

import sys

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server
from django.conf import settings
from django.urls import re_path
from event import event


class ChatConsumer(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.group = f"chat_{self.scope['url_route']['kwargs']['course_id']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data: str) -> None:
        await self.channel_layer.group_send(self.group, {"type": "chat_message", "event": event(text_data)})

    async def chat_message(self, message: dict[str, str]) -> None:
        await self.send(text_data=message["event"])


def main() -> None:
    port, redis_url = int(sys.argv[1]), sys.argv[2]
    layer = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [redis_url]}}
    settings.configure(ALLOWED_HOSTS=["*"], CHANNEL_LAYERS={"default": layer})
    django.setup()
    assert get_channel_layer() is not None
    chat = re_path(r"^ws/chat/room/(?P<course_id>\d+)/$", ChatConsumer.as_asgi())
    Server(
        application=ProtocolTypeRouter({"websocket": URLRouter([chat])}),
        endpoints=build_endpoint_description_strings(host="127.0.0.1", port=port),
        verbosity=0,
    ).run()


if __name__ == "__main__":
    main()
