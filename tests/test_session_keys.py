"""Changing the session key: existing cookies and tokens stay valid."""

import pytest
from cryptography.fernet import Fernet

from educa_chat.app import build_app
from educa_chat.errors import SettingsInvalid
from educa_chat.settings import DEMO_SESSION_KEY, Settings, load_settings
from tests.conftest import Postgres
from tests.serving import Person, open_server, settings_for

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


async def test_sessions_under_a_former_key_stay_valid_and_can_be_ended(postgres: Postgres) -> None:
    url = await postgres.create_chat_database(demo=True)
    async with (
        open_server(settings_for(url, session_key=OLD)) as before,
        open_server(settings_for(url, session_key=NEW, session_key_fallbacks=f"{OLD}")) as after,
        open_server(settings_for(url, session_key=NEW)) as later,
        Person(before.url, "ana") as ana,
    ):
        assert (await ana.get("/students/courses/"))[0] == 200
        token = await ana.token("/students/courses/")
        ana.url = later.url
        assert (await ana.get("/students/courses/"))[0] == 302
        ana.url = after.url
        assert (await ana.get("/students/courses/"))[0] == 200
        await (await ana.enter()).receive_until("welcome")
        # The form is from a page of the server with the old key.
        path = "/accounts/logout/"
        async with ana.http.post(after.url + path, data={"csrf_token": token}, allow_redirects=False) as response:
            assert response.status == 302
        assert (await ana.get("/students/courses/"))[0] == 302
        # New cookies are made with the new key.
        await ana.sign_in("ana")
        ana.url = later.url
        assert (await ana.get("/students/courses/"))[0] == 200


async def test_a_browser_cookie_signed_with_a_former_key_is_recognised(postgres: Postgres) -> None:
    """A known browser has its own count of failures."""
    url = await postgres.create_chat_database(demo=True)
    strict = {"limits_sign_in_failures_per_minute": 1}
    async with (
        open_server(settings_for(url, session_key=OLD)) as before,
        open_server(settings_for(url, session_key=NEW, session_key_fallbacks=OLD, **strict)) as after,
        Person(before.url, "ana") as ana,
        Person(after.url) as stranger,
    ):
        await ana.sign_out()
        while (await stranger.sign_in("ana", "wrong"))[0] != 429:
            pass
        ana.url = after.url
        assert (await ana.sign_in("ana"))[0] == 302


@pytest.mark.parametrize("key", ["x", DEMO_SESSION_KEY[:-1]])
def test_former_keys_are_validated_like_the_current_one(key: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"session\.key_fallbacks"):
        load_settings(None, {"EDUCA_CHAT_SESSION_KEY": NEW, "EDUCA_CHAT_SESSION_KEY_FALLBACKS": f"{OLD},{key}"})


def test_production_refuses_the_demo_key_as_a_former_key() -> None:
    environment = {"EDUCA_CHAT_SESSION_KEY": NEW, "EDUCA_CHAT_SESSION_KEY_FALLBACKS": DEMO_SESSION_KEY}
    load_settings(None, environment)
    with pytest.raises(SettingsInvalid, match="remove the demo key"):
        load_settings(None, environment | {"EDUCA_CHAT_SERVER_MODE": "production"})


def test_an_application_cannot_be_built_without_a_key() -> None:
    with pytest.raises(SettingsInvalid, match=r"session\.key"):
        build_app(Settings())
