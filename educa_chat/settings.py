"""The settings: a TOML file, overridden by the environment, as frozen and typed structs.

Each key can be set by the variable `EDUCA_CHAT_<SECTION>_<KEY>`. An unknown key is an error, in the file and in the
environment: a misspelt one would leave the server with a default, such as a database that nobody meant.
"""

import hmac
import ipaddress
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec
from cryptography.fernet import Fernet

from educa_chat.errors import SettingsInvalid

DEMO_SESSION_KEY = "ZGVtby1rZXktZm9yLWRldmVsb3BtZW50LW9ubHktISE="
"""The key of `config/development.toml`. Everybody knows it, so production refuses it."""

ENVIRONMENT_PREFIX = "EDUCA_CHAT_"


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Database(_Section, frozen=True):
    url: str = "embedded:var/database"
    """`embedded:FOLDER` or `postgresql://…`."""
    pool_size: int = 10
    """The connections that one process may hold beside the log's own."""


class Bus(_Section, frozen=True):
    url: str = "memory:"
    """`memory:`, `redis://…` or `redis+cluster://…`, the last two also with `rediss` for TLS."""
    prefix: str = "educa-chat:"
    """In front of every topic, so that two deployments on one Redis never hear each other."""


class Session(_Section, frozen=True):
    key: str = ""
    """A Fernet key: that of the cookie `educa_chat_session`, and the origin of all other keys."""
    key_fallbacks: tuple[str, ...] = ()
    """Keys of before: what was made with one of them is still accepted."""
    secure: bool = False
    """Whether cookies are for https alone."""
    days: int = 14
    """How long a sign-in lasts."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The key, and after it those of before."""
        return self.key, *self.key_fallbacks

    def derived_keys(self, purpose: str) -> tuple[bytes, ...]:
        """Keys for one purpose alone, so that what is made with them is good for nothing else."""
        return tuple(hmac.digest(key.encode(), purpose.encode(), "sha256") for key in self.keys)


class Auth(_Section, frozen=True):
    django_secret_key: str = ""
    """The SECRET_KEY of a Django site on the same database, whose sessions are then the only identity."""
    django_secret_key_fallbacks: tuple[str, ...] = ()
    """The site's SECRET_KEY_FALLBACKS."""
    django_session_cookie: str = "sessionid"
    django_backends: tuple[str, ...] = ("django.contrib.auth.backends.ModelBackend",)
    """The site's AUTHENTICATION_BACKENDS."""
    sign_in_url: str = "/accounts/login/"
    sign_out_url: str = "/accounts/login/"


class Server(_Section, frozen=True):
    mode: Literal["development", "production"] = "development"
    allow_embedded_database: bool = False
    """Whether production may store its data in an embedded database."""
    allow_insecure_cookies: bool = False
    """Whether production may send its cookies over plain http."""
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    origins: tuple[str, ...] = ()
    """The origins that pages may come from, scheme and all; empty: the host of the request."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose `X-Forwarded-*` are believed."""
    metrics_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks that may read `/metrics`."""


class Limits(_Section, frozen=True):
    messages_per_second: float = 5.0
    message_burst: int = 40
    reads_per_second: float = 20.0
    read_burst: int = 400
    message_length: int = 4000
    frame_bytes: int = 65536
    sockets_per_user: int = 20
    sign_in_failures_per_minute: int = 5
    replay: int = 1000


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a process; a limit of 0 is switched off."""

    database: Database = Database()
    bus: Bus = Bus()
    session: Session = Session()
    auth: Auth = Auth()
    server: Server = Server()
    limits: Limits = Limits()


_SECTIONS: dict[str, type[msgspec.Struct]] = {field.name: field.type for field in msgspec.structs.fields(Settings)}
_KEYS = {
    f"{section}.{field.name}": field.type
    for section, fields in _SECTIONS.items()
    for field in msgspec.structs.fields(fields)
}
_VARIABLES = {key.replace(".", "_").upper(): key for key in _KEYS}
"""The keys by the names of their variables, without the prefix."""
_NOT_SETTINGS = ("EDUCA_CHAT_REQUIRE",)
"""Variables with our prefix that are for others: the test suite reads what it must not skip."""


def load_settings(file: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read `file`, if there is one, and what `environment` overrides.

    Raises SettingsInvalid for a file that can't be read, for unknown keys, naming all of them, and for a value of the
    wrong form.
    """
    values = _read(file) if file else {}
    errors = [f"{file}: {error}" for error in _unknown_keys(values)]
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NOT_SETTINGS:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name not in _VARIABLES:
            errors.append(
                f"{variable}: there is no such setting{_suggestion(name.upper(), _VARIABLES, ENVIRONMENT_PREFIX)}"
            )
            continue
        section, _, key = _VARIABLES[name].partition(".")
        table = values.setdefault(section, {})
        if not isinstance(table, dict):
            raise SettingsInvalid(f"{section}: a table is expected")
        is_list = _KEYS[f"{section}.{key}"] == tuple[str, ...]
        table[key] = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
    if errors:
        raise SettingsInvalid("\n".join(errors))
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsInvalid(f"{file or 'environment'}: {error}") from error
    verify(settings)
    return settings


def _unknown_keys(values: Mapping[str, Any]) -> Iterator[str]:
    """Describe what in the tables of a file is no setting."""
    for section, table in values.items():
        if section not in _SECTIONS:
            yield f"{section}: there is no such section{_suggestion(section, (*_SECTIONS, *_KEYS))}"
        elif isinstance(table, dict):
            for key in table:
                if (name := f"{section}.{key}") not in _KEYS:
                    yield f"{name}: there is no such key{_suggestion(name, _KEYS)}"


def _suggestion(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the question that ends the message about an unknown `name`; empty if nothing in `known` is similar."""
    without_section = [one for one in known if one.endswith((f".{name}", f"_{name}"))]
    similar = without_section or get_close_matches(name, known)
    return f"; did you mean {prefix}{similar[0]}?" if similar and name else ""


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"{file}: {error}") from error


def verify(settings: Settings) -> None:
    """Raise SettingsInvalid for what has the right type and can't work."""
    database, bus, server, limits = settings.database, settings.bus, settings.server, settings.limits
    if database.url.partition(":")[0] not in ("embedded", "postgresql", "postgres"):
        raise SettingsInvalid("database.url: embedded:FOLDER or postgresql://… is expected")
    if database.url == "embedded:":
        raise SettingsInvalid("database.url: embedded: wants a folder")
    if bus.url.partition(":")[0] not in ("memory", "redis", "rediss", "redis+cluster", "rediss+cluster"):
        raise SettingsInvalid("bus.url: memory:, redis[s]://… or redis[s]+cluster://… is expected")
    _verify_url("database.url", database.url)
    _verify_url("bus.url", bus.url)
    if "+cluster:" in bus.url and "{" in bus.prefix:
        raise SettingsInvalid("bus.prefix: with { every topic would be on the same shard of the cluster")
    if database.pool_size < 1:
        raise SettingsInvalid("database.pool_size: at least 1")
    if not 0 <= server.port <= 65535:
        raise SettingsInvalid("server.port: 0 to 65535")
    if server.workers < 1:
        raise SettingsInvalid("server.workers: at least 1")
    if server.workers > 1 and bus.url.startswith("memory:"):
        raise SettingsInvalid(
            f"server.workers: {server.workers} processes can't share a memory bus; "
            "set bus.url to a Redis (redis://…), or run one worker"
        )
    if settings.session.key:
        _verify_key("session.key", settings.session.key)
    for key in settings.session.key_fallbacks:
        _verify_key("session.key_fallbacks", key)
    if settings.session.days < 1:
        raise SettingsInvalid("session.days: at least 1")
    for name in msgspec.structs.asdict(limits):
        if getattr(limits, name) < 0:
            raise SettingsInvalid(f"limits.{name}: 0 or more")
    for origin in server.origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise SettingsInvalid(f"server.origins: {origin!r} is not an origin such as https://school.example")
    for name in ("trusted_proxies", "metrics_networks"):
        for network in getattr(server, name):
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise SettingsInvalid(f"server.{name}: {error}") from error
    if server.mode == "production":
        _verify_production(settings)


def _verify_url(name: str, url: str) -> None:
    """Refuse a URL that the drivers would split in the wrong place: their errors quote parts of the password."""
    if url.startswith(("embedded:", "memory:")):
        return
    try:
        parts = urlsplit(url)
        hosts = parts.netloc.rpartition("@")[2].split(",")
        ports = [urlsplit(f"//{host}").port for host in hosts]
        query = parse_qsl(parts.query, strict_parsing=bool(parts.query))
        ports += [int(port) for key, value in query if key == "port" for port in value.split(",")]
        is_well_formed = not parts.fragment and "@" not in parts.path and parts.netloc.count("@") <= 1
    except ValueError:
        is_well_formed = False
    if not is_well_formed:
        raise SettingsInvalid(
            f"{name}: this is not a valid URL. Check the port, and escape special characters in the password: "
            "/ is %2F, ? is %3F, # is %23, @ is %40, [ is %5B"
        )


def _verify_key(name: str, key: str) -> None:
    try:
        Fernet(key)
    except ValueError as error:
        raise SettingsInvalid(f"{name}: {error}; make one with {_KEY_RECIPE}") from error


def _verify_production(settings: Settings) -> None:
    if not settings.session.key:
        raise SettingsInvalid(f"session.key: missing, and production needs one; make it with {_KEY_RECIPE}")
    if settings.session.key == DEMO_SESSION_KEY:
        raise SettingsInvalid(f"session.key: this is the demo key, which everybody knows; make one with {_KEY_RECIPE}")
    if DEMO_SESSION_KEY in settings.session.key_fallbacks:
        raise SettingsInvalid("session.key_fallbacks: the demo key is among them, and everybody knows it")
    if settings.database.url.startswith("embedded:") and not settings.server.allow_embedded_database:
        raise SettingsInvalid(
            "database.url: production refuses an embedded database, which nothing backs up; name a server "
            "(postgresql://…), or set server.allow_embedded_database"
        )
    if not settings.session.secure and not settings.server.allow_insecure_cookies:
        raise SettingsInvalid(
            "session.secure: production refuses cookies that plain http carries; set it, or set "
            "server.allow_insecure_cookies"
        )


_KEY_RECIPE = (
    "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())' "
    "and set EDUCA_CHAT_SESSION_KEY"
)
