"""Django's password hashers with as little work as possible, so that tests can sign in quickly.

`tests/test_passwords.py` tests the hashers with their defaults.
"""

from django.contrib.auth import hashers


class PBKDF2(hashers.PBKDF2PasswordHasher):
    iterations = 2


class Argon2(hashers.Argon2PasswordHasher):
    time_cost = 1
    memory_cost = 8
    parallelism = 1


class BCryptSHA256(hashers.BCryptSHA256PasswordHasher):
    rounds = 4


class Scrypt(hashers.ScryptPasswordHasher):
    work_factor = 2
