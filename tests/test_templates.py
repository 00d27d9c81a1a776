"""Templates are compiled before the first request."""

import jinja2
import pytest
from cryptography.fernet import Fernet

from educa_chat.app import build_app
from educa_chat.handlers.keys import PAGES
from educa_chat.settings import Server, Session, Settings


def test_production_compiles_its_templates_at_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    key = Fernet.generate_key().decode()
    app = build_app(Settings(server=Server(mode="production"), session=Session(key=key, secure=True)))

    def compile_late(*_: object, **__: object) -> None:
        raise AssertionError("compiled late")

    monkeypatch.setattr(jinja2.Environment, "compile", compile_late)
    for page in PAGES.values():
        for name in ("sign_in.html", "courses.html", "course.html", "room.html", "error.html"):
            app[page].get_template(name)
