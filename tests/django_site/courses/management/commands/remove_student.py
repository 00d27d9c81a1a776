from courses.models import Course
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Take a student out of a course."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("course", help="the course's slug")

    def handle(self, username: str, course: str, **options: object) -> None:
        Course.objects.get(slug=course).students.remove(get_user_model().objects.get(username=username))
