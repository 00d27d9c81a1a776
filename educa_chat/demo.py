"""The demo data for development: two courses, three students and their teacher."""

from educa_chat.errors import RecordExists
from educa_chat.people.passwords import make_password
from educa_chat.storage.accounts import add_user
from educa_chat.storage.courses import add_course, add_module, enrol
from educa_chat.storage.pool import Database

PASSWORD = "educa-demo"  # noqa: S105
PEOPLE = {
    "profe": ("Clara", "Benítez"),
    "ana": ("Ana", "Morales"),
    "luis": ("Luis", "Ortega"),
    "marta": ("Marta", "Vidal"),
}
COURSES = (
    (
        "Introducción a la programación",
        "Informática",
        "Variables, bucles, funciones: los primeros programas, paso a paso.",
        ("ana", "luis"),
        (
            ("Primeros pasos", "Qué es un programa y cómo se ejecuta."),
            ("Bucles", "Repetir sin repetirse."),
            ("Funciones", "Dar un nombre a lo que se hace."),
        ),
    ),
    (
        "Álgebra lineal",
        "Matemáticas",
        "Vectores, matrices y sistemas de ecuaciones.",
        ("marta",),
        (("Vectores", "Sumar, escalar, medir."), ("Matrices", "Tablas que transforman.")),
    ),
)
SIGN_INS = f"ana, luis (course 1), marta (course 2) and profe, who teaches both; the password is {PASSWORD}"


async def add_demo(database: Database) -> None:
    """Add the demo data. Raises RecordExists if there are users or courses already."""
    if await database.fetchval("select exists (select from auth_user) or exists (select from courses_course)"):
        raise RecordExists("the demo data was not added: the database already has users or courses")
    # All users have the same password, so one hash is enough. Computing it takes a third of a second.
    password = make_password(PASSWORD)
    for username, (first_name, last_name) in PEOPLE.items():
        await add_user(database, username, password, first_name=first_name, last_name=last_name)
    for title, subject, overview, students, modules in COURSES:
        course = await add_course(database, title, "profe", subject=subject, overview=overview)
        for module_title, description in modules:
            await add_module(database, course, module_title, description)
        for student in students:
            await enrol(database, student, course)
