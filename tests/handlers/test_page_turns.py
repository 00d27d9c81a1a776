"""Pages that are requested simultaneously are rendered in turn."""

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from educa_chat.handlers import rendering
from tests.echo_server import Iterations
from tests.serving import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_one_page_is_rendered_per_iteration_of_the_event_loop(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: Counter[int] = Counter()
    render = rendering.render_anonymous

    def counting(*arguments: Any, **context: Any) -> web.Response:
        rendered.update([iterations.count])
        return render(*arguments, **context)

    async def ask() -> None:
        async with http.get(f"{server.url}/chat/sign-in/") as answer:
            assert answer.status == 200

    monkeypatch.setattr(rendering, "render_anonymous", counting)
    async with Iterations() as iterations, aiohttp.ClientSession() as http:
        await asyncio.gather(*(ask() for _ in range(30)))
    assert rendered.total() == 30
    assert max(rendered.values()) == 1
