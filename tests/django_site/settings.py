"""Django's defaults with cheap hashers, on the database at EDUCA_SITE_DATABASE_URL, a URL in any form of libpq's."""

import os
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict


def database_at(url: str) -> dict[str, object]:
    """Django's settings for the database at `url`."""
    connection = conninfo_to_dict(url)
    return {"ENGINE": "django.db.backends.postgresql", "NAME": connection.pop("dbname"), "OPTIONS": connection}


DATABASES = {"default": database_at(os.environ.get("EDUCA_SITE_DATABASE_URL", "dbname=educa"))}
SECRET_KEY = "clave-secreta-ñ-0123456789"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "courses",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [Path(__file__).with_name("templates")],
    }
]
ALLOWED_HOSTS = ["127.0.0.1"]
USE_X_FORWARDED_HOST = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
PASSWORD_HASHERS = [
    "hashers.PBKDF2",
    "hashers.Argon2",
    "hashers.BCryptSHA256",
    "hashers.Scrypt",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
