"""Django's defaults, on the database that EDUCA_SITE_DATABASE_URL names in any of libpq's forms."""

import os

from psycopg.conninfo import conninfo_to_dict

_connection = conninfo_to_dict(os.environ.get("EDUCA_SITE_DATABASE_URL", "dbname=educa"))

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _connection.pop("dbname"),
        "OPTIONS": _connection,
    }
}
SECRET_KEY = "clave-secreta-ñ-0123456789"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "courses",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.BCryptSHA256PasswordHasher",
    "django.contrib.auth.hashers.ScryptPasswordHasher",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
