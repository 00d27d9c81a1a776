from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Give a user another password."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("password")

    def handle(self, username: str, password: str, **options: object) -> None:
        user = get_user_model().objects.get(username=username)
        user.set_password(password)
        user.save()
