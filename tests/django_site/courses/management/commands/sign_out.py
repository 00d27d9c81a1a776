from django.contrib.auth import logout
from django.contrib.sessions.backends.db import SessionStore
from django.core.management.base import BaseCommand, CommandParser
from django.http import HttpRequest


class Command(BaseCommand):
    help = "End the session of a key, as Django's own view does."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("session_key")

    def handle(self, session_key: str, **options: object) -> None:
        request = HttpRequest()
        request.session = SessionStore(session_key)
        logout(request)
