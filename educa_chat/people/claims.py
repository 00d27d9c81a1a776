"""The claims of an issuer or a portal about a person: the standard ones (OpenID Connect Core 1.0 §5.1), and others."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from educa_chat.protocol import Role
from educa_chat.settings import CourseRule

Claims = Mapping[str, Any]

_ROLES = {"student": Role.STUDENT, "assistant": Role.ASSISTANT, "teacher": Role.INSTRUCTOR}


def proposed_username(claims: Claims) -> str:
    """Return the issuer's username for the person, or the first part of their e-mail address; empty if there is
    neither.
    """
    return (_text(claims, "preferred_username") or _text(claims, "email")).partition("@")[0]


def first_and_last_name(claims: Claims) -> tuple[str, str]:
    """Return the person's names. Both may be empty."""
    first, last = _text(claims, "given_name"), _text(claims, "family_name")
    return (first, last) if first or last else (_text(claims, "name"), "")


def verified_email(claims: Claims, domains: Collection[str]) -> str:
    """Return the person's address if the issuer has verified it and it belongs to one of `domains`; else nothing."""
    email = _text(claims, "email")
    name, _, domain = email.rpartition("@")
    # Some providers send the truth value as a string.
    is_verified = claims.get("email_verified") in (True, "true")
    is_trusted = domain.lower() in {trusted.lower() for trusted in domains}
    return email if name and email.isprintable() and is_verified and is_trusted else ""


def roles_of(claims: Claims, rules: Iterable[CourseRule]) -> dict[str, Role]:
    """Return the highest role that `rules` give in each course, by the rules' name for the course."""
    roles: dict[str, Role] = {}
    for rule in rules:
        claim, role = claims.get(rule.claim), _ROLES[rule.role]
        if rule.value in (claim if isinstance(claim, list) else [claim]):
            roles[rule.course] = max(role, roles.get(rule.course, role), key=list(Role).index)
    return roles


def _text(claims: Claims, name: str) -> str:
    claim = claims.get(name)
    return claim if isinstance(claim, str) else ""
