"""The password policy: long, uncommon passwords of any characters."""

import gzip
from contextlib import suppress
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from educa_chat.demo import PASSWORD as DEMO_PASSWORD
from educa_chat.demo import PEOPLE
from educa_chat.errors import PasswordRefused
from educa_chat.people.password_policy import PASSWORD_CHARACTERS, require_strong
from educa_chat.people.passwords import PASSWORD_BYTES, make_password


def test_a_long_uncommon_password_is_accepted(subtests: pytest.Subtests) -> None:
    for password in (
        "a sentence of mine",
        "Tr0ub4dor&3",
        "correct horse battery staple",
        "gq7vkx2m",
        "4815169342",
        "日本語のパスワード",
        "contraseña de Ana",
        "  spaces at the ends  ",
        "🐎🔋📎✅🐢🎈🧭🪁",
        "x7" * (PASSWORD_BYTES // 4) + "yz" * (PASSWORD_BYTES // 4),
        "my chat in educa",
        DEMO_PASSWORD,
    ):
        with subtests.test(password=password):
            require_strong(password, "ana")


def test_a_short_password_is_refused_even_if_padded(subtests: pytest.Subtests) -> None:
    for password in (
        "",
        "1",
        "gq7vkx2",
        "        ",
        "\t \u00a0\u2003\u3000\u2028 \n",
        "gq7     vk",
        "  gq7vkx2  ",
        "\ufb03" * 3,  # ﬃ, which becomes three letters
        "\ufdfa",  # becomes eighteen
        "e\u0301a\u0301i\u0301o\u0301",  # eight code points of four letters
    ):
        with subtests.test(password=password):
            with pytest.raises(PasswordRefused, match=f"at least {PASSWORD_CHARACTERS} characters"):
                require_strong(password, "ana")


@given(st.text(max_size=PASSWORD_CHARACTERS - 1))
def test_passwords_below_the_minimum_length_are_refused(password: str) -> None:
    with pytest.raises(PasswordRefused):
        require_strong(password, "")


def test_repeated_characters_and_sequences_are_refused(subtests: pytest.Subtests) -> None:
    for password in (
        "aaaaaaaa", "aAaAaAaA", "abababababab", "12121212", "........", "abcdefghij", "87654321", "ijklmnopq",
        "\u200b" * 8, "\u200b\u200c\u200d\u2060\ufeff\u00ad\u2061\u2062", "á a à â ä ã å ā",
    ):  # fmt: skip
        with subtests.test(password=password):
            with pytest.raises(PasswordRefused, match="too simple"):
                require_strong(password, "ana")


def test_common_passwords_are_refused_in_any_case_and_with_a_year(subtests: pytest.Subtests) -> None:
    for password in (
        "password", "PassWord", "ＰＡＳＳＷＯＲＤ", "password1", "Password2026!", "!!password!!", "qwertyuiop",
        "iloveyou", "1q2w3e4r", "p@ssw0rd", "contraseña", "Contrasena1", "pass\u00adword", "barcelona", "realmadrid",
        "#1stunna",
    ):  # fmt: skip
        with subtests.test(password=password):
            with pytest.raises(PasswordRefused, match="most common"):
                require_strong(password, "ana")


NAMES_AS_PASSWORDS: list[tuple[str, str]] = [
    ("ana.ruiz", "ana.ruiz"),
    ("ana.ruiz", "AnaRuiz2026"),
    ("ana.ruiz", "ana_ruiz!"),
    ("anaruiz", "ana-ruiz-1"),
    ("Ñandú-Gómez", "nandugomez7"),
    ("ana", "anaana2026"),
    ("ana", "ana@educa-chat"),
    ("", "educa-chat"),
    ("", "EducaChat"),
    ("", "educa_chat_2026"),
    ("", "Educa Chat!"),
    ("", "chateduca1"),
    ("", "educaeduca"),
    ("chat", "educachat"),
]


def test_the_username_and_site_name_are_refused_even_with_digits_and_dashes(subtests: pytest.Subtests) -> None:
    for username, password in NAMES_AS_PASSWORDS:
        with subtests.test(password=password):
            with pytest.raises(PasswordRefused, match="the user name, the name, or the name of this chat"):
                require_strong(password, username)


@settings(deadline=None)
@given(st.text(st.characters()), st.text(st.characters()))
def test_any_password_is_accepted_or_refused(password: str, username: str) -> None:
    with suppress(PasswordRefused):
        require_strong(password, username)


def test_the_blocklist_has_djangos_common_passwords_of_sufficient_length() -> None:
    """If a newer Django has a different list, copy it."""
    compressed = resources.files("django.contrib.auth") / "common-passwords.txt.gz"
    theirs = gzip.decompress(compressed.read_bytes()).decode().splitlines()
    ours = (resources.files("educa_chat.people") / "common_passwords.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in ours if not line.startswith("# ")] == [
        password for password in theirs if len(password) >= PASSWORD_CHARACTERS
    ]


def test_no_weak_password_is_ever_hashed(subtests: pytest.Subtests) -> None:
    for password in ("", "short", "password1", "ana-2026"):
        with subtests.test(password=password):
            with pytest.raises(PasswordRefused):
                make_password(password, "ana")


def test_the_demo_password_is_accepted_for_demo_users() -> None:
    for username in PEOPLE:
        require_strong(DEMO_PASSWORD, username)


def test_a_password_made_of_the_users_name_is_refused(subtests: pytest.Subtests) -> None:
    for password in ("Núñez2026!!", "zoenunez123", "Zoë-Núñez-1"):
        with subtests.test(password=password):
            with pytest.raises(PasswordRefused):
                require_strong(password, "z", "Zoë", "Núñez")
            require_strong(f"{password} and a tree", "z", "Zoë", "Núñez")
