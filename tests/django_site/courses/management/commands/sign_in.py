from django.contrib.auth import get_user_model, login
from django.contrib.sessions.backends.db import SessionStore
from django.core.management.base import BaseCommand, CommandParser
from django.http import HttpRequest


class Command(BaseCommand):
    help = "Sign a user in, whatever the password, and print the session's key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, username: str, **options: object) -> str:
        request = HttpRequest()
        request.session = SessionStore()
        login(request, get_user_model().objects.get(username=username))
        request.session.save()
        return request.session.session_key
