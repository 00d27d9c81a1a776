import json

from courses.models import Course, Subject
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

HASHERS = {
    "ines": "pbkdf2_sha256",
    "ana": "pbkdf2_sha256",
    "berta": "argon2",
    "carla": "bcrypt_sha256",
    "dario": "scrypt",
}
INSTRUCTOR = "ines"
WITHOUT_PASSWORD = "sinclave"
INACTIVE = "inactiva"

COURSES = {
    'Álgebra & <b>"lineal"</b> I': (
        "algebra",
        ["ana", "berta", INACTIVE, WITHOUT_PASSWORD],
        ["Vectores", "Matrices"],
    ),
    "Geometría": ("geometria", ["ana", "carla"], ["Triángulos"]),
    "Lógica": ("logica", [], []),
}


class Command(BaseCommand):
    help = "Fill the empty tables, and print what is in them as JSON."

    def handle(self, **options: object) -> str:
        passwords: dict[str, str | None] = {username: f"contraseña de {username}" for username in (*HASHERS, INACTIVE)}
        passwords[WITHOUT_PASSWORD] = None
        users = {
            username: User.objects.create(
                username=username,
                password=make_password(password, hasher=HASHERS.get(username, "default")),
                is_active=username != INACTIVE,
            )
            for username, password in passwords.items()
        }
        subject = Subject.objects.create(title="Matemáticas", slug="matematicas")
        courses = {}
        for title, (slug, students, modules) in COURSES.items():
            course = Course.objects.create(owner=users[INSTRUCTOR], subject=subject, title=title, slug=slug)
            course.students.set([users[student] for student in students])
            for module in modules:
                course.modules.create(title=module)
            courses[slug] = {
                "id": course.id,
                "title": title,
                "owner": INSTRUCTOR,
                "students": students,
                "modules": modules,
            }
        return json.dumps(
            {
                "users": {
                    username: {"id": user.id, "password": passwords[username]} for username, user in users.items()
                },
                "courses": courses,
            }
        )
