"""The settings: frozen, typed structs, read from a TOML file and overridden by environment variables.

The variable `EDUCA_CHAT_<SECTION>_<KEY>` sets a key. An unknown key or variable is an error: otherwise a typo would
leave the default in place, and the server might use the wrong database.

A named section, such as `[issuers.school]`, occurs once for each name. `EDUCA_CHAT_ISSUERS_SCHOOL_<KEY>` sets its keys.
"""

import hmac
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec
from cryptography.fernet import Fernet

from educa_chat.errors import SettingsInvalid
from educa_chat.logo import read_logo

DEMO_SESSION_KEY = "ZGVtby1rZXktZm9yLWRldmVsb3BtZW50LW9ubHktISE="
"""The key in `config/development.toml`. It is public, so production refuses it."""

ENVIRONMENT_PREFIX = "EDUCA_CHAT_"
SECRET_LENGTH = 32
"""The minimum length of a secret for HS256, in characters (RFC 7518 §3.2)."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Site(_Section, frozen=True):
    name: str = "Educa"
    """The name of the site in its pages and their titles."""
    logo: str = ""
    """An SVG, PNG, JPEG or WebP file of at most 100 KiB. Empty: the logo of this product."""


class Database(_Section, frozen=True):
    url: str = "embedded:var/database"
    """`embedded:FOLDER` or `postgresql://…`."""
    pool_size: int = 10
    """How many connections a process may open, in addition to the two that the log uses."""


class Bus(_Section, frozen=True):
    url: str = "memory:"
    """`memory:`, `redis://…` or `redis+cluster://…`; `rediss://…` and `rediss+cluster://…` use TLS."""
    prefix: str = "educa-chat:"
    """Prefix of every topic. Deployments that share a Redis need different ones to stay separate."""


class Session(_Section, frozen=True):
    key: str = ""
    """A Fernet key. It encrypts the cookie `educa_chat_session`; all other keys are derived from it."""
    key_fallbacks: tuple[str, ...] = ()
    """Former keys. Cookies and tokens made with one of them are still accepted."""
    secure: bool = False
    """Whether browsers send the cookies over https only."""
    days: int = 14
    """How long a sign-in lasts."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The current key, followed by the former ones."""
        return self.key, *self.key_fallbacks

    def derived_keys(self, purpose: str) -> tuple[bytes, ...]:
        """Return one key per session key for `purpose` only: a token made for one purpose is invalid for another."""
        return tuple(hmac.digest(key.encode(), purpose.encode(), "sha256") for key in self.keys)


class Auth(_Section, frozen=True):
    django_secret_key: str = ""
    """The SECRET_KEY of a Django site on the same database. If set, users are identified by its sessions only."""
    django_secret_key_fallbacks: tuple[str, ...] = ()
    """The Django site's SECRET_KEY_FALLBACKS."""
    django_session_cookie: str = "sessionid"
    django_backends: tuple[str, ...] = ("django.contrib.auth.backends.ModelBackend",)
    """The Django site's AUTHENTICATION_BACKENDS."""
    sign_in_url: str = "/accounts/login/"
    sign_out_url: str = "/accounts/login/"
    account_url: str = "/"
    """The Django site's page on which users change their name and password."""


class Server(_Section, frozen=True):
    mode: Literal["development", "production"] = "development"
    allow_embedded_database: bool = False
    """Whether production may use an embedded database."""
    allow_insecure_cookies: bool = False
    """Whether production may send its cookies over unencrypted http."""
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    public_url: str = ""
    """The address of the site, such as `https://school.example`, which users, platforms and issuers know it by."""
    origins: tuple[str, ...] = ()
    """The origins whose pages may connect, such as `https://school.example`. Empty: the host of the request."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies. The client address and scheme in their `X-Forwarded-*` headers are believed."""
    metrics_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks that may read `/metrics`."""

    @property
    def known_url(self) -> str:
        """The `public_url`, or without one the first of `origins`; empty if there is neither."""
        return (self.public_url or next(iter(self.origins), "")).rstrip("/")

    @property
    def site_url(self) -> str:
        """The `known_url`, or in development the address that is listened on. Raises SettingsInvalid.

        Where there is a request, use `site_url` of handlers/access.py.
        """
        if self.known_url:
            return self.known_url
        if self.mode == "production":
            raise SettingsInvalid("server.public_url: missing. Links for users begin with it")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class Email(_Section, frozen=True):
    host: str = ""
    """The mail server. Empty: no e-mails are sent."""
    port: int = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """Whether the connection is encrypted after a greeting, from the beginning, or not at all."""
    username: str = ""
    """The account at the mail server. Empty: none is needed."""
    password: str = ""
    sender: str = ""
    """The sender's address of e-mails, such as `Example School <chat@school.example>`."""

    @property
    def is_set_up(self) -> bool:
        """Whether there is a mail server. If not, no e-mails may be offered."""
        return bool(self.host)


class Outbound(_Section, frozen=True):
    private_networks: tuple[str, ...] = ()
    """Private networks in which a learning platform or an issuer may be. Others are refused, because their addresses
    come from outside."""


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


class CourseRule(_Section, frozen=True):
    """Gives `role` in `course` to everyone whose `claim` is `value`, or is a list that contains it."""

    claim: str
    value: str
    course: str
    """The course's id or short name (slug)."""
    role: Literal["student", "assistant", "teacher"] = "student"


class Issuer(_Section, frozen=True):
    """An OpenID provider whose users may sign in."""

    name: str = ""
    """Its name on the button of the sign-in page."""
    issuer: str = ""
    """The issuer identifier: the URL that `/.well-known/openid-configuration` is appended to."""
    client_id: str = ""
    client_secret: str = ""
    """Empty: a public client, which only PKCE protects."""
    logo: str = ""
    """An SVG, PNG or WebP file for the button."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    email_domains: tuple[str, ...] = ()
    """The domains that it is trusted for: a verified address in one of them links to the account with this address."""
    courses: tuple[CourseRule, ...] = ()


class Portal(_Section, frozen=True):
    """A site whose signed links sign its users in. Either `secret` (HS256) or `public_key` (EdDSA) verifies them."""

    name: str = ""
    """Its name on the pages."""
    audience: str = ""
    """The required `aud` of the links."""
    secret: str = ""
    public_key: str = ""
    """A PEM file with an Ed25519 key."""
    email_domains: tuple[str, ...] = ()
    courses: tuple[CourseRule, ...] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings of a process. A limit of 0 is off."""

    site: Site = Site()
    database: Database = Database()
    bus: Bus = Bus()
    session: Session = Session()
    auth: Auth = Auth()
    server: Server = Server()
    outbound: Outbound = Outbound()
    email: Email = Email()
    limits: Limits = Limits()
    issuers: dict[str, Issuer] = {}
    portals: dict[str, Portal] = {}


_NAMED_SECTIONS: dict[str, type[msgspec.Struct]] = {"issuers": Issuer, "portals": Portal}
_SECTIONS: dict[str, type[msgspec.Struct]] = {
    field.name: field.type for field in msgspec.structs.fields(Settings) if field.name not in _NAMED_SECTIONS
}
_KEYS = {
    f"{section}.{field.name}": field.type
    for section, fields in _SECTIONS.items()
    for field in msgspec.structs.fields(fields)
}
_VARIABLES = {key.replace(".", "_").upper(): key for key in _KEYS}
"""The key of each variable, by the variable's name without the prefix."""
_NAME = "[a-z0-9]+"
"""The valid names of a named section, which become a part of a URL and of a variable."""
_NOT_SETTINGS = ("EDUCA_CHAT_REQUIRE",)
"""Variables with our prefix that aren't settings. The test suite reads this one."""


def load_settings(file: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read `file`, if given, and override it with the variables in `environment`.

    Raises SettingsInvalid if the file can't be read, if there are unknown keys (the message lists all of them), and if
    a value is invalid.
    """
    values = _read(file) if file else {}
    errors = [f"{file}: {error}" for error in _unknown_keys(values)]
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NOT_SETTINGS:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if (found := _key_of(name)) is None:
            errors.append(f"{variable}: unknown setting{_suggestion(name.upper(), _VARIABLES, ENVIRONMENT_PREFIX)}")
            continue
        tables, key, is_list = found
        table = values
        for section in tables:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise SettingsInvalid(f"{file}: {section}: expected a table, [{'.'.join(tables)}]")
        table[key] = [part.strip() for part in text.split(",") if part.strip()] if is_list else text
    if errors:
        raise SettingsInvalid("\n".join(errors))
    for section, named in _named_tables(values):
        try:
            msgspec.convert(values[section][named], _NAMED_SECTIONS[section], strict=False)
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at `$")
            raise SettingsInvalid(f"{section}.{named}{path.rstrip('`')}: {problem}") from error
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsInvalid(_explanation(str(error), values)) from error
    verify(settings)
    return settings


def _key_of(variable: str) -> tuple[tuple[str, ...], str, bool] | None:
    """Return the tables and the key that a `variable` without our prefix sets, and whether it is a list.

    None if there is no such setting.
    """
    if variable in _VARIABLES:
        section, _, key = _VARIABLES[variable].partition(".")
        return (section,), key, _KEYS[_VARIABLES[variable]] == tuple[str, ...]
    for section, fields in _NAMED_SECTIONS.items():
        for field in msgspec.structs.fields(fields):
            form = rf"{section.upper()}_({_NAME.upper()})_{field.name.upper()}"
            if field.name != "courses" and (match := re.fullmatch(form, variable)):
                return (section, match[1].lower()), field.name, field.type == tuple[str, ...]
    return None


def _named_tables(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the section and the name of each table of a named section."""
    for section in _NAMED_SECTIONS:
        if isinstance(values.get(section), dict):
            for name in values[section]:
                yield section, name


def _unknown_keys(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error for each section and key of a file that isn't a setting."""
    for section, name in _named_tables(values):
        known = [field.name for field in msgspec.structs.fields(_NAMED_SECTIONS[section])]
        if not re.fullmatch(_NAME, name):
            yield f"{section}.{name}: a name may have only the letters a to z and digits"
        elif isinstance(values[section][name], dict):
            for key in values[section][name]:
                if key not in known:
                    yield f"{section}.{name}.{key}: unknown key{_suggestion(key, known)}"
    for section, table in values.items():
        if section in _NAMED_SECTIONS:
            continue
        if section not in _SECTIONS:
            yield f"{section}: unknown section{_suggestion(section, (*_SECTIONS, *_NAMED_SECTIONS, *_KEYS))}"
        elif isinstance(table, dict):
            for key in table:
                if (name := f"{section}.{key}") not in _KEYS:
                    yield f"{name}: unknown key{_suggestion(name, _KEYS)}"


def _explanation(reason: str, values: Mapping[str, Any]) -> str:
    """Translate msgspec's `reason` why `values` are invalid into a sentence that names the key and what is valid."""
    problem, _, path = reason.partition(" - at `$.")
    key = path.rstrip("`").partition("[")[0]
    if key not in _KEYS:
        return f"{key}: {problem}" if key else problem
    section, _, name = key.partition(".")
    value, expected = values[section][name], _KEYS[key]
    if choices := get_args(expected) if expected not in (str, tuple[str, ...]) else ():
        return f"{key}: {value!r} is not a valid value. Choose from: {', '.join(choices)}"
    if expected in _EXPECTED:
        return f"{key}: {value!r} is not a valid value. Expected {_EXPECTED[expected]}"
    # The value may be a secret.
    return f"{key}: expected {'a string' if expected is str else 'a list of strings'}"


_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false"}


def _suggestion(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return the suggestion for an unknown `name`; empty if nothing in `known` is similar."""
    without_section = [one for one in known if one.endswith((f".{name}", f"_{name}"))]
    similar = without_section or get_close_matches(name, known)
    return f"; did you mean {prefix}{similar[0]}?" if similar and name else ""


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"{file}: {error}") from error


def verify(settings: Settings) -> None:
    """Raise SettingsInvalid for a value that has the right type but can't work."""
    database, bus, server, limits = settings.database, settings.bus, settings.server, settings.limits
    if not settings.site.name.strip() or not settings.site.name.isprintable():
        raise SettingsInvalid("site.name: expected a name, in one line")
    if settings.site.logo:
        read_logo("site.logo", Path(settings.site.logo))
    if database.url.partition(":")[0] not in ("embedded", "postgresql", "postgres"):
        raise SettingsInvalid("database.url: expected embedded:FOLDER or postgresql://…")
    if database.url == "embedded:":
        raise SettingsInvalid("database.url: expected a folder after embedded:")
    if bus.url.partition(":")[0] not in ("memory", "redis", "rediss", "redis+cluster", "rediss+cluster"):
        raise SettingsInvalid("bus.url: expected memory:, redis[s]://… or redis[s]+cluster://…")
    _verify_url("database.url", database.url)
    _verify_url("bus.url", bus.url)
    if "+cluster:" in bus.url and "{" in bus.prefix:
        raise SettingsInvalid(
            "bus.prefix: must not contain {, or every topic would be on the same shard of the cluster"
        )
    if database.pool_size < 1:
        raise SettingsInvalid("database.pool_size: must be at least 1")
    if not 0 <= server.port <= 65535:
        raise SettingsInvalid("server.port: must be between 0 and 65535")
    if server.workers < 1:
        raise SettingsInvalid("server.workers: must be at least 1")
    if server.workers > 1 and bus.url.startswith("memory:"):
        raise SettingsInvalid(
            f"server.workers: {server.workers} processes can't share a memory bus. "
            "Set bus.url to a Redis (redis://…), or run one worker"
        )
    if settings.session.key:
        _verify_key("session.key", settings.session.key)
    for key in settings.session.key_fallbacks:
        _verify_key("session.key_fallbacks", key)
    if settings.session.days < 1:
        raise SettingsInvalid("session.days: must be at least 1")
    if settings.email.host:
        _verify_email(settings)
    for name in msgspec.structs.asdict(limits):
        if getattr(limits, name) < 0:
            raise SettingsInvalid(f"limits.{name}: must be 0 (no limit) or more")
    addresses = [("server.origins", origin) for origin in server.origins]
    if server.public_url:
        addresses.append(("server.public_url", server.public_url))
    for name, address in addresses:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
            raise SettingsInvalid(f"{name}: {address!r} is not an origin such as https://school.example")
    networks = {
        "server.trusted_proxies": server.trusted_proxies,
        "server.metrics_networks": server.metrics_networks,
        "outbound.private_networks": settings.outbound.private_networks,
    }
    for name, listed in networks.items():
        for network in listed:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise SettingsInvalid(f"{name}: {error}") from error
    _verify_ways_to_sign_in(settings)
    if server.mode == "production":
        _verify_production(settings)


def _verify_ways_to_sign_in(settings: Settings) -> None:
    """Raise SettingsInvalid for an issuer or a portal that can't work."""
    if settings.auth.django_secret_key and (settings.issuers or settings.portals):
        raise SettingsInvalid(
            "auth.django_secret_key: the Django site signs all users in. Remove issuers and portals, and connect "
            "the site itself to the provider"
        )
    issuers = [issuer.issuer for issuer in settings.issuers.values()]
    for name, issuer in settings.issuers.items():
        for key in ("name", "issuer", "client_id"):
            if not getattr(issuer, key):
                raise SettingsInvalid(f"issuers.{name}.{key}: missing")
        parts = urlsplit(issuer.issuer)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
            raise SettingsInvalid(f"issuers.{name}.issuer: expected a URL such as https://login.school.example")
        if parts.scheme == "http" and settings.server.mode == "production":
            raise SettingsInvalid(f"issuers.{name}.issuer: production requires https")
        if "openid" not in issuer.scopes:
            raise SettingsInvalid(f"issuers.{name}.scopes: must contain openid")
        if issuer.logo:
            read_logo(f"issuers.{name}.logo", Path(issuer.logo))
        if issuers.count(issuer.issuer) > 1:
            raise SettingsInvalid(f"issuers.{name}.issuer: another section has the same issuer")
    for name, portal in settings.portals.items():
        for key in ("name", "audience"):
            if not getattr(portal, key):
                raise SettingsInvalid(f"portals.{name}.{key}: missing")
        if bool(portal.secret) == bool(portal.public_key):
            raise SettingsInvalid(f"portals.{name}: expected either secret or public_key")
        if portal.secret and len(portal.secret) < SECRET_LENGTH:
            raise SettingsInvalid(f"portals.{name}.secret: must have at least {SECRET_LENGTH} characters")


def _verify_email(settings: Settings) -> None:
    email = settings.email
    if not re.fullmatch(r"[^@\n\r]*[^@\s]@[^@\s]+", email.sender):
        raise SettingsInvalid("email.sender: expected an address such as Example School <chat@school.example>")
    if not 1 <= email.port <= 65535:
        raise SettingsInvalid("email.port: must be between 1 and 65535")
    if bool(email.username) != bool(email.password):
        raise SettingsInvalid("email.username, email.password: set both or neither")
    if email.username and email.tls == "none" and settings.server.mode == "production":
        raise SettingsInvalid("email.tls: production refuses to send a password over an unencrypted connection")
    _ = settings.server.site_url


def _verify_url(name: str, url: str) -> None:
    """Raise SettingsInvalid for a malformed URL. The drivers would report it too, but quote parts of the password."""
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
        credentials = url.partition("://")[2].rpartition("@")[0]
        unescaped = [character for character in "/?#[]@" if character in credentials]
        cause = (
            "The user or the password contains special characters that must be escaped: "
            + ", ".join(f"write {quote(character, safe='')} for {character}" for character in unescaped)
            if unescaped
            else "Check the port and the options"
        )
        raise SettingsInvalid(f"{name}: not a valid URL. {cause}")


def _verify_key(name: str, key: str) -> None:
    try:
        Fernet(key)
    except ValueError as error:
        raise SettingsInvalid(f"{name}: {error} To make one, run {_KEY_RECIPE}") from error


def _verify_production(settings: Settings) -> None:
    if not settings.session.key:
        raise SettingsInvalid(f"session.key: missing. To make one, run {_KEY_RECIPE}")
    if settings.session.key == DEMO_SESSION_KEY:
        raise SettingsInvalid(f"session.key: the demo key is public. To make a secret one, run {_KEY_RECIPE}")
    if DEMO_SESSION_KEY in settings.session.key_fallbacks:
        raise SettingsInvalid("session.key_fallbacks: remove the demo key, which is public")
    if settings.database.url.startswith("embedded:") and not settings.server.allow_embedded_database:
        raise SettingsInvalid(
            "database.url: production refuses an embedded database by default. Use a PostgreSQL server "
            "(postgresql://…), or set server.allow_embedded_database"
        )
    if not settings.session.secure and not settings.server.allow_insecure_cookies:
        raise SettingsInvalid(
            "session.secure: production refuses to send cookies over unencrypted http. Set it to true, or set "
            "server.allow_insecure_cookies"
        )


_KEY_RECIPE = (
    "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())' "
    "and set EDUCA_CHAT_SESSION_KEY"
)
