"""The settings: typed, complete in the examples, overridden by the environment, refused by name."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from cryptography.fernet import Fernet

from educa_chat.errors import SettingsInvalid
from educa_chat.settings import DEMO_SESSION_KEY, CourseRule, Settings, load_settings

CONFIG = Path(__file__).parent.parent / "config"
PRODUCTION = {
    "EDUCA_CHAT_SERVER_MODE": "production",
    "EDUCA_CHAT_SESSION_KEY": Fernet.generate_key().decode(),
    "EDUCA_CHAT_SESSION_SECURE": "true",
    "EDUCA_CHAT_DATABASE_URL": "postgresql://x@y/z",
}
SCHOOL = {
    "EDUCA_CHAT_ISSUERS_SCHOOL_NAME": "Colegio Sur",
    "EDUCA_CHAT_ISSUERS_SCHOOL_ISSUER": "https://login.school.example",
    "EDUCA_CHAT_ISSUERS_SCHOOL_CLIENT_ID": "chat",
}
PORTAL = {
    "EDUCA_CHAT_PORTALS_INTRANET_NAME": "Intranet",
    "EDUCA_CHAT_PORTALS_INTRANET_AUDIENCE": "https://chat.school.example",
    "EDUCA_CHAT_PORTALS_INTRANET_SECRET": 32 * "x",
}


@pytest.mark.parametrize("name", ["development", "production"])
def test_the_examples_have_every_key_with_a_comment(name: str) -> None:
    text = (CONFIG / f"{name}.toml").read_text(encoding="utf-8")
    given = tomllib.loads(text)
    known = msgspec.to_builtins(Settings())
    assert {section: set(keys) for section, keys in given.items()} == {s: set(k) for s, k in known.items()}
    for line in text.splitlines():
        if " = " in line and not line.startswith("#"):
            assert "  # " in line, line


def test_the_development_example_matches_the_defaults_plus_the_demo_key() -> None:
    settings = load_settings(CONFIG / "development.toml", {})
    default = load_settings(None, {"EDUCA_CHAT_SESSION_KEY": DEMO_SESSION_KEY})
    assert settings == default


def test_the_environment_overrides_the_file() -> None:
    for variable, text, section, key, value in (
        ("EDUCA_CHAT_DATABASE_URL", "postgresql://x@y/z", "database", "url", "postgresql://x@y/z"),
        ("EDUCA_CHAT_SERVER_PORT", "8010", "server", "port", 8010),
        ("EDUCA_CHAT_SESSION_SECURE", "true", "session", "secure", True),
        ("EDUCA_CHAT_SESSION_SECURE", "0", "session", "secure", False),
        ("EDUCA_CHAT_SERVER_ORIGINS", "https://a.example, https://b.example", "server", "origins",
         ("https://a.example", "https://b.example")),
        ("EDUCA_CHAT_SERVER_ORIGINS", "", "server", "origins", ()),
        ("EDUCA_CHAT_LIMITS_MESSAGES_PER_SECOND", "0.5", "limits", "messages_per_second", 0.5),
        ("EDUCA_CHAT_AUTH_DJANGO_SECRET_KEY", "1234", "auth", "django_secret_key", "1234"),
    ):  # fmt: skip
        settings = load_settings(CONFIG / "development.toml", {variable: text})
        assert getattr(getattr(settings, section), key) == value, variable


def test_links_start_with_the_public_url_an_origin_or_the_address() -> None:
    for environment, url in (
        ({"PUBLIC_URL": "https://a.example/", "ORIGINS": "https://b.example"}, "https://a.example"),
        ({"ORIGINS": "https://b.example, https://c.example"}, "https://b.example"),
        ({"HOST": "::1", "PORT": "8010"}, "http://[::1]:8010"),
    ):
        settings = load_settings(None, {f"EDUCA_CHAT_SERVER_{name}": value for name, value in environment.items()})
        assert settings.server.site_url == url, environment


def test_variables_without_our_prefix_are_ignored() -> None:
    others = {"EDUCA_CHAT_REQUIRE": "browser", "EDUCA_CHAT": "x", "EDUCA_SECRET_KEY": "y", "MY_EDUCA_CHAT_URL": "z"}
    assert load_settings(None, others) == Settings()


def test_an_unknown_variable_is_an_error_with_a_suggestion(subtests: pytest.Subtests) -> None:
    for variable, suggestion in (
        ("EDUCA_CHAT_DATABSE_URL", "EDUCA_CHAT_DATABASE_URL"),
        ("EDUCA_CHAT_DATABASE_ULR", "EDUCA_CHAT_DATABASE_URL"),
        ("EDUCA_CHAT_DATABASEURL", "EDUCA_CHAT_DATABASE_URL"),
        ("EDUCA_CHAT_DB_URL", "EDUCA_CHAT_BUS_URL"),
        ("EDUCA_CHAT_database_url", "EDUCA_CHAT_DATABASE_URL"),
        ("EDUCA_CHAT_SERVER_PROT", "EDUCA_CHAT_SERVER_PORT"),
        ("EDUCA_CHAT_SESION_KEY", "EDUCA_CHAT_SESSION_KEY"),
        ("EDUCA_CHAT_DJANGO_SECRET_KEY", "EDUCA_CHAT_AUTH_DJANGO_SECRET_KEY"),
        ("EDUCA_CHAT_MODE", "EDUCA_CHAT_SERVER_MODE"),
        ("EDUCA_CHAT_LIMITS_SOCKETS_PER_USERS", "EDUCA_CHAT_LIMITS_SOCKETS_PER_USER"),
        ("EDUCA_CHAT_ISSUERS_SCHOOL_COURSES", None),
        ("EDUCA_CHAT_ISSUERS_MY_SCHOOL_NAME", None),
        ("EDUCA_CHAT_XYZZY", None),
        ("EDUCA_CHAT_", None),
    ):
        with subtests.test(variable=variable):
            with pytest.raises(SettingsInvalid) as caught:
                load_settings(None, {variable: "x"})
            ending = f"; did you mean {suggestion}?" if suggestion else ""
            assert str(caught.value) == f"{variable}: unknown setting{ending}"


def test_all_unknown_names_are_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("prot = 1\n[sever]\nport = 1\n[server]\nprot = 1\n[limits]\nsockets = 1\n")
    with pytest.raises(SettingsInvalid) as caught:
        load_settings(file, {"EDUCA_CHAT_DATABSE_URL": "x", "EDUCA_CHAT_SERVER_PORT": "80", "EDUCA_CHAT_BUS": "y"})
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [str(file)] * 4 + [
        "EDUCA_CHAT_DATABSE_URL",
        "EDUCA_CHAT_BUS",
    ]


IMPOSSIBLE: list[tuple[Mapping[str, str], str]] = [
    ({"EDUCA_CHAT_SERVER_PROT": "1"}, "EDUCA_CHAT_SERVER_PROT"),
    ({"EDUCA_CHAT_SERVER_PORT": "eighty"}, "server.port"),
    ({"EDUCA_CHAT_SERVER_PORT": "70000"}, "server.port"),
    ({"EDUCA_CHAT_SERVER_MODE": "testing"}, "server.mode"),
    ({"EDUCA_CHAT_SERVER_WORKERS": "2"}, "memory bus"),
    ({"EDUCA_CHAT_SERVER_WORKERS": "0"}, "server.workers"),
    ({"EDUCA_CHAT_SERVER_ORIGINS": "school.example"}, "server.origins"),
    ({"EDUCA_CHAT_SERVER_PUBLIC_URL": "school.example"}, "server.public_url"),
    ({"EDUCA_CHAT_EMAIL_HOST": "mail.example"}, "email.sender"),
    ({"EDUCA_CHAT_EMAIL_HOST": "mail.example", "EDUCA_CHAT_EMAIL_SENDER": "A\nB: <a@b.c>"}, "email.sender"),
    (
        {"EDUCA_CHAT_EMAIL_HOST": "x", "EDUCA_CHAT_EMAIL_SENDER": "a@b.c", "EDUCA_CHAT_EMAIL_PORT": "0"},
        "email.port",
    ),
    (
        {"EDUCA_CHAT_EMAIL_HOST": "x", "EDUCA_CHAT_EMAIL_SENDER": "a@b.c", "EDUCA_CHAT_EMAIL_USERNAME": "u"},
        "email.username",
    ),
    ({"EDUCA_CHAT_SERVER_PUBLIC_URL": "https://school.example/chat/"}, "server.public_url"),
    ({"EDUCA_CHAT_SERVER_TRUSTED_PROXIES": "nginx"}, "server.trusted_proxies"),
    ({"EDUCA_CHAT_SERVER_METRICS_NETWORKS": "10.0.0.9/8"}, "server.metrics_networks"),
    ({"EDUCA_CHAT_DATABASE_URL": "mysql://x"}, "database.url"),
    ({"EDUCA_CHAT_DATABASE_URL": "embedded:"}, "database.url"),
    ({"EDUCA_CHAT_BUS_URL": "amqp://x"}, "bus.url"),
    ({"EDUCA_CHAT_BUS_URL": "redis+cluster://x", "EDUCA_CHAT_BUS_PREFIX": "{school}:"}, "bus.prefix"),
    ({"EDUCA_CHAT_SESSION_KEY": "short"}, "session.key"),
    ({"EDUCA_CHAT_LIMITS_REPLAY": "-1"}, "limits.replay"),
    ({"EDUCA_CHAT_ISSUERS_SCHOOL_NAME": "x"}, r"issuers\.school\.issuer: missing"),
    (SCHOOL | {"EDUCA_CHAT_ISSUERS_SCHOOL_CLIENT_ID": ""}, r"issuers\.school\.client_id: missing"),
    (SCHOOL | {"EDUCA_CHAT_ISSUERS_SCHOOL_ISSUER": "login.example"}, r"issuers\.school\.issuer: expected"),
    (SCHOOL | {"EDUCA_CHAT_ISSUERS_SCHOOL_ISSUER": "https://x/?y"}, r"issuers\.school\.issuer: expected"),
    (SCHOOL | {"EDUCA_CHAT_ISSUERS_SCHOOL_SCOPES": "profile"}, r"issuers\.school\.scopes: must contain openid"),
    (
        PRODUCTION | SCHOOL | {"EDUCA_CHAT_ISSUERS_SCHOOL_ISSUER": "http://x"},
        r"issuers\.school\.issuer: production",
    ),
    (SCHOOL | {"EDUCA_CHAT_AUTH_DJANGO_SECRET_KEY": "x"}, r"auth\.django_secret_key: "),
    (PORTAL | {"EDUCA_CHAT_AUTH_DJANGO_SECRET_KEY": "x"}, r"auth\.django_secret_key: "),
    (PORTAL | {"EDUCA_CHAT_PORTALS_INTRANET_AUDIENCE": ""}, r"portals\.intranet\.audience: missing"),
    (PORTAL | {"EDUCA_CHAT_PORTALS_INTRANET_SECRET": ""}, r"portals\.intranet: expected either"),
    (PORTAL | {"EDUCA_CHAT_PORTALS_INTRANET_PUBLIC_KEY": "x.pem"}, r"portals\.intranet: expected either"),
    (PORTAL | {"EDUCA_CHAT_PORTALS_INTRANET_SECRET": 31 * "x"}, r"portals\.intranet\.secret: .* 32"),
    ({"EDUCA_CHAT_SERVER_MODE": "production"}, "session.key: missing"),
    ({"EDUCA_CHAT_SERVER_MODE": "production", "EDUCA_CHAT_SESSION_KEY": DEMO_SESSION_KEY}, "demo key"),
    (PRODUCTION | {"EDUCA_CHAT_DATABASE_URL": "embedded:var/database"}, "database.url: production refuses"),
    ({name: PRODUCTION[name] for name in PRODUCTION if "DATABASE" not in name}, "database.url: production refuses"),
    (PRODUCTION | {"EDUCA_CHAT_SESSION_SECURE": "false"}, "session.secure: production refuses"),
    ({name: PRODUCTION[name] for name in PRODUCTION if "SECURE" not in name}, "session.secure: production refuses"),
]


def test_settings_that_cannot_work_are_refused_by_name(subtests: pytest.Subtests) -> None:
    for environment, said in IMPOSSIBLE:
        with subtests.test(said=said):
            with pytest.raises(SettingsInvalid, match=said):
                load_settings(None, environment)


WRONG_FILES: list[tuple[str, str]] = [
    ("[server]\nprot = 1", r"server\.prot: unknown key; did you mean server\.port\?"),
    ("[sever]\nport = 1", r"sever: unknown section; did you mean server\?"),
    ("port = 1", r"port: unknown section; did you mean server\.port\?"),
    ("[server.prot]\nx = 1", r"server\.prot: unknown key"),
    ("[database]\nport = 1", r"database\.port: unknown key"),
    ("[server", "declaration"),
    ("server = 1", "server"),
    ("issuers = 1", "issuers"),
    ("[issuers]\nname = 1", r"issuers\.name: "),
    ("[issuers.My-School]", r"issuers\.My-School: a name may have only"),
    ("[issuers.school]\nclient = 1", r"issuers\.school\.client: unknown key; did you mean client_id\?"),
    ("[issuers.school]\nname = 1", r"issuers\.school\.name: "),
    ("[[issuers.school.courses]]\nclaim = 'x'", r"issuers\.school\.courses\[0\]: .*value"),
    (
        "[[portals.x.courses]]\nclaim = 'x'\nvalue = 'x'\ncourse = 'x'\nrole = 'owner'",
        r"portals\.x\.courses\[0\]\.role: ",
    ),
    (
        "[issuers.a]\nname = 'x'\nissuer = 'https://x'\nclient_id = 'x'\n"
        "[issuers.b]\nname = 'x'\nissuer = 'https://x'\nclient_id = 'x'",
        "another section has the same issuer",
    ),
]


def test_a_file_with_an_unknown_key_or_a_wrong_type_is_refused(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for text, said in WRONG_FILES:
        with subtests.test(text=text):
            file = tmp_path / "settings.toml"
            file.write_text(text)
            with pytest.raises(SettingsInvalid, match=said):
                load_settings(file, {})


def test_a_named_section_is_merged_from_the_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        "[issuers.school]\nname = 'Colegio Sur'\nissuer = 'https://login.example'\nclient_id = 'chat'\n"
        "[[issuers.school.courses]]\nclaim = 'groups'\nvalue = 'algebra'\ncourse = 'algebra'\n"
    )
    environment = {
        "EDUCA_CHAT_ISSUERS_SCHOOL_CLIENT_SECRET": "a, secret",
        "EDUCA_CHAT_ISSUERS_SCHOOL_EMAIL_DOMAINS": "a.example, b.example",
        "EDUCA_CHAT_ISSUERS_OTHER2_NAME": "Other",
        "EDUCA_CHAT_ISSUERS_OTHER2_ISSUER": "https://other.example",
        "EDUCA_CHAT_ISSUERS_OTHER2_CLIENT_ID": "chat",
    }
    issuers = load_settings(file, environment).issuers
    assert list(issuers) == ["school", "other2"]
    school = issuers["school"]
    assert (school.client_secret, school.email_domains) == ("a, secret", ("a.example", "b.example"))
    assert school.courses == (CourseRule("groups", "algebra", "algebra", "student"),)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"missing\.toml"):
        load_settings(tmp_path / "missing.toml", {})


def test_production_requires_its_own_key() -> None:
    key = Fernet.generate_key().decode()
    settings = load_settings(CONFIG / "production.toml", {"EDUCA_CHAT_SESSION_KEY": key})
    assert settings.session.secure


def test_production_accepts_unsafe_settings_that_the_operator_allows() -> None:
    unsafe = PRODUCTION | {"EDUCA_CHAT_DATABASE_URL": "embedded:var/database", "EDUCA_CHAT_SESSION_SECURE": "false"}
    allowed = {"EDUCA_CHAT_SERVER_ALLOW_EMBEDDED_DATABASE": "true", "EDUCA_CHAT_SERVER_ALLOW_INSECURE_COOKIES": "true"}
    assert load_settings(None, PRODUCTION).session.secure
    assert load_settings(None, unsafe | allowed).database.url == "embedded:var/database"
    for missing, said in zip(allowed, ("database.url", "session.secure"), strict=True):
        with pytest.raises(SettingsInvalid, match=said):
            load_settings(None, unsafe | {name: value for name, value in allowed.items() if name != missing})


def test_a_url_that_would_be_parsed_wrongly_is_refused_without_showing_its_password(subtests: pytest.Subtests) -> None:
    for key, url in (
        ("database.url", "postgresql://educa:xy/zzy@db.example/campus"),
        ("database.url", "postgresql://educa:5432/xyzzy@db.example/campus"),
        ("database.url", "postgresql://educa:xy[zzy@db.example/campus"),
        ("database.url", "postgresql://educa:xy?zzy@db.example/campus"),
        ("database.url", "postgresql://educa:xy#zzy@db.example/campus"),
        ("database.url", "postgresql://educa:xy@zzy@db.example/campus"),
        ("database.url", "postgresql://educa:xyzzy@db.example:xyzzy/campus"),
        ("database.url", "postgresql://educa@db.example/campus?port=xyzzy"),
        ("bus.url", "redis://:xy/zzy@redis.example"),
        ("bus.url", "rediss+cluster://educa:xy?zzy@redis.example"),
        ("bus.url", "redis://redis.example:65536"),
    ):
        with subtests.test(url=url):
            with pytest.raises(SettingsInvalid, match="not a valid URL") as refusal:
                load_settings(None, {f"EDUCA_CHAT_{key.upper().replace('.', '_')}": url})
            assert str(refusal.value).startswith(f"{key}: ")
            assert "zzy" not in str(refusal.value)


def test_a_url_that_libpq_accepts_is_accepted() -> None:
    for url in (
        "postgresql://educa:xy%2Fzzy@db.example:5432/campus",
        "postgresql://one.example:1,two.example:2/campus",
        "postgresql://educa@[::1]:5432/campus",
        "postgresql:///campus?host=/run/postgresql&password=x@y",
        "postgresql://",
    ):
        assert load_settings(None, {"EDUCA_CHAT_DATABASE_URL": url}).database.url == url, url


def test_an_invalid_value_is_refused_with_the_valid_ones(subtests: pytest.Subtests) -> None:
    for variable, value, message in (
        ("SERVER_MODE", "prod", "server.mode: 'prod' is not a valid value. Choose from: development, production"),
        ("SERVER_PORT", "eighty", "server.port: 'eighty' is not a valid value. Expected a whole number"),
        ("SESSION_SECURE", "maybe", "session.secure: 'maybe' is not a valid value. Expected true or false"),
        ("LIMITS_MESSAGES_PER_SECOND", "few", "limits.messages_per_second: 'few' is not a valid value."
         " Expected a number"),
    ):  # fmt: skip
        with subtests.test(variable=variable, value=value):
            with pytest.raises(SettingsInvalid) as refusal:
                load_settings(None, {f"EDUCA_CHAT_{variable}": value})
            assert str(refusal.value) == message


def test_an_invalid_secret_is_refused_without_showing_it(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for text, message in (
        ("[session]\nkey_fallbacks = 'xyzzy'", "session.key_fallbacks: expected a list of strings"),
        ("[session]\nkey_fallbacks = [7]", "session.key_fallbacks: expected a list of strings"),
        ("[session]\nkey = 7", "session.key: expected a string"),
        ("[server]\nport = [7]", "server.port: [7] is not a valid value. Expected a whole number"),
        ("server = 1", "server: Expected `object`, got `int`"),
    ):
        with subtests.test(text=text):
            file = tmp_path / "settings.toml"
            file.write_text(text)
            with pytest.raises(SettingsInvalid) as refusal:
                load_settings(file, {})
            assert str(refusal.value) == message


def test_the_error_about_an_unescaped_password_says_how_to_escape_it(subtests: pytest.Subtests) -> None:
    for character, escaped in (("/", "%2F"), ("?", "%3F"), ("#", "%23"), ("@", "%40")):
        with subtests.test(character=character):
            with pytest.raises(SettingsInvalid, match=f"write {escaped} for ") as refusal:
                load_settings(
                    None, {"EDUCA_CHAT_DATABASE_URL": f"postgresql://educa:xy{character}zzy@db.example/campus"}
                )
            assert str(refusal.value).endswith(f"write {escaped} for {character}")
