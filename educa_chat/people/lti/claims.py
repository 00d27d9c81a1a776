"""The claims of a launch (LTI 1.3 Core §5.3), and the role and language that they stand for here."""

import html
import re
from collections.abc import Collection, Sequence

import msgspec
from babel import negotiate_locale

from educa_chat.people.id_tokens import Claims
from educa_chat.protocol import Role
from educa_chat.translations import LANGUAGES

LTI = "https://purl.imsglobal.org/spec/lti/claim/"
DEEP_LINKING = "https://purl.imsglobal.org/spec/lti-dl/claim/"
ROSTER = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
ROSTER_SCOPE = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
VERSION = "1.3.0"
RESOURCE_LINK = "LtiResourceLinkRequest"
DEEP_LINK = "LtiDeepLinkingRequest"

_ROLES = "http://purl.imsglobal.org/vocab/lis/v2/"
_ADMINISTRATOR_ROLES = {
    "membership#Administrator",
    "system/person#Administrator",
    "system/person#SysAdmin",
    "institution/person#Administrator",
}
_ASSISTANT_ROLES = {
    "membership/Instructor#TeachingAssistant",
    "membership/Instructor#TeachingAssistantGroup",
    "membership/Instructor#TeachingAssistantOffering",
    "membership/Instructor#TeachingAssistantSection",
    "membership/Instructor#TeachingAssistantSectionAssociation",
    "membership/Instructor#TeachingAssistantTemplate",
}
_INSTRUCTOR_ROLES = {"membership#Instructor", "membership#ContentDeveloper"}
_SHORT_ROLES = {
    "Administrator": "membership#Administrator",
    "TeachingAssistant": "membership/Instructor#TeachingAssistant",
    "Instructor#TeachingAssistant": "membership/Instructor#TeachingAssistant",
    "Instructor": "membership#Instructor",
    "ContentDeveloper": "membership#ContentDeveloper",
}


class Context(msgspec.Struct, frozen=True):
    id: str
    label: str = ""
    title: str = ""


class Presentation(msgspec.Struct, frozen=True):
    locale: str | None = None
    document_target: str | None = None
    return_url: str | None = None


class RosterService(msgspec.Struct, frozen=True):
    context_memberships_url: str | None = None


class DeepLinkSettings(msgspec.Struct, frozen=True):
    deep_link_return_url: str
    accept_types: list[str]
    accept_multiple: bool | None = None
    data: str | None = None


class Launch(Claims, frozen=True, kw_only=True):
    """The claims of a launch. Names may be missing, because a platform may withhold them."""

    deployment: str = msgspec.field(name=LTI + "deployment_id", default="")
    message_type: str = msgspec.field(name=LTI + "message_type", default="")
    version: str = msgspec.field(name=LTI + "version", default="")
    target_link_uri: str = msgspec.field(name=LTI + "target_link_uri", default="")
    roles: list[str] | None = msgspec.field(name=LTI + "roles", default=None)
    context: Context | None = msgspec.field(name=LTI + "context", default=None)
    presentation: Presentation | None = msgspec.field(name=LTI + "launch_presentation", default=None)
    roster: RosterService | None = msgspec.field(name=ROSTER, default=None)
    deep_linking: DeepLinkSettings | None = msgspec.field(name=DEEP_LINKING + "deep_linking_settings", default=None)
    name: str | None = None
    given_name: str | None = None
    family_name: str | None = None
    locale: str | None = None


def role_of(roles: Collection[str]) -> Role:
    """Return the role of a person with these `roles`, which are URIs of the LIS vocabulary or its short names.

    An administrator is an instructor. A teaching assistant is one even if the platform also calls them a learner or,
    because that is the principal role of teaching assistants in the vocabulary, an instructor. Everyone else is a
    student. That includes instructors of the institution, who may attend this course.
    """
    names = {_SHORT_ROLES.get(role, role.removeprefix(_ROLES)) for role in roles}
    if names & _ADMINISTRATOR_ROLES:
        return Role.INSTRUCTOR
    if names & _ASSISTANT_ROLES:
        return Role.ASSISTANT
    return Role.INSTRUCTOR if names & _INSTRUCTOR_ROLES else Role.STUDENT


def names_of(name: str | None, given_name: str | None, family_name: str | None) -> tuple[str, str]:
    """Return the first and the last name; the whole name is the first one if the platform doesn't divide it.

    Moodle escapes the names in its rosters as HTML, but not those in its launches.
    """
    first, last = (given_name, family_name) if given_name or family_name else (name, None)
    return _unescaped(first or ""), _unescaped(last or "")


def _unescaped(text: str) -> str:
    # Without the semicolon, HTML allows "&copy" too, which may be a part of a name.
    return re.sub(r"&#?\w{1,31};", lambda reference: html.unescape(reference[0]), text)


def language_of(locales: Sequence[str | None]) -> str | None:
    """Return our language for the first of `locales`, such as `es-MX` or `es_mx`, that we have; None without any."""
    for locale in locales:
        if locale and (found := negotiate_locale([locale[:35].replace("_", "-")], LANGUAGES, sep="-")):
            return found
    return None
