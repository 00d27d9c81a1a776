"""Signs in people who were identified by an issuer or a portal, and shows a page with the reason if that fails."""

import logging
import math
from collections.abc import Awaitable, Callable, Collection
from typing import Literal, NamedTuple

from aiohttp import web

from educa_chat.errors import OutboundFailed, SignInRefused, TokenRefused
from educa_chat.handlers.access import is_site_path
from educa_chat.handlers.rendering import COURSES_PATH, redirect, render
from educa_chat.log_lines import log_also
from educa_chat.people.claims import Claims, first_and_last_name, proposed_username, roles_of, verified_email
from educa_chat.people.own_accounts import SIGN_IN_PATH, OwnAccounts
from educa_chat.people.sign_in_limits import wait_s
from educa_chat.protocol import Role
from educa_chat.settings import CourseRule
from educa_chat.storage.external_people import ExternalPerson, find_or_add_person
from educa_chat.storage.mapped_roles import apply_mapped_roles, find_rule_courses
from educa_chat.storage.pool import Database

logger = logging.getLogger(__name__)


class Source(NamedTuple):
    """An issuer or a portal that identifies people."""

    key: str
    """Identifies it permanently, such as the issuer's URL. People are known by it and their `subject`."""
    name: str
    """The name that users know it by."""
    retry_path: str
    """The page on which a user can try again; empty if only the source itself can start a sign-in."""
    email_domains: Collection[str]
    rules: Collection[CourseRule]


async def sign_in_person(
    accounts: OwnAccounts, request: web.Request, source: Source, subject: str, claims: Claims, next_path: str
) -> tuple[web.Response, str]:
    """Sign in the person whom `source` calls `subject`, who may be new. Return the answer and the session id.

    Their courses and roles become what the rules of `source` say. Raises SignInRefused, DatabaseUnavailable.
    """
    first_name, last_name = first_and_last_name(claims)
    person = await find_or_add_person(
        accounts.database,
        ExternalPerson(source.key, subject, first_name, last_name),
        username=proposed_username(claims),
        email=verified_email(claims, source.email_domains),
    )
    log_also(user=person.user_id)
    if not person.is_active:
        raise SignInRefused("the account is deactivated", "inactive")
    await _apply_rules(accounts.database, source, person.user_id, person.username, claims)
    response = redirect(next_path if is_site_path(next_path) else COURSES_PATH)
    session_id = await accounts.sign_in(request, response, person.user_id, person.username)
    logger.info("signed in through %s", source.name)
    return response, session_id


async def _apply_rules(database: Database, source: Source, user_id: int, username: str, claims: Claims) -> None:
    left_out = claims.get("_claim_names")
    if isinstance(left_out, dict) and any(rule.claim in left_out for rule in source.rules):
        logger.warning("%s says more than fits into a token, so the user's courses stay as they are", source.name)
        return
    roles = roles_of(claims, source.rules)
    courses = await find_rule_courses(database, roles)
    for name in roles.keys() - courses.keys():
        logger.warning("a rule of %s can't be applied: there is no course %s", source.name, name)
    wanted: dict[int, Role] = {}
    for name, course in courses.items():
        # One rule may use the id of a course, and another its slug.
        wanted[course] = max(roles[name], wanted.get(course, roles[name]), key=list(Role).index)
    await apply_mapped_roles(database, user_id, username, source.key, wanted)


async def explain_failure(
    accounts: OwnAccounts, request: web.Request, source: Source, answer: Callable[[], Awaitable[web.Response]]
) -> web.Response:
    """Return the response of `answer`; if it fails, a page that says what to do, after logging why.

    An address from which many sign-ins fail has to wait.
    """
    counts = accounts.limits.unknown_links(request.remote)
    if wait := wait_s(counts):
        return await _failure_page(request, source, "too_many", status=429, retry_after_s=math.ceil(wait))
    try:
        return await answer()
    except OutboundFailed as error:
        logger.warning("a sign-in through %s failed: %s", source.name, error)
        return await _failure_page(request, source, "unavailable", status=502)
    except (TokenRefused, SignInRefused) as error:
        logger.warning("a sign-in through %s was refused: %s", source.name, error)
        for limit, key in counts:
            limit.count(key)
        if isinstance(error, SignInRefused):
            return await _failure_page(request, source, error.advice, status=403)
        return await _failure_page(request, source, "expired" if error.is_stale else "refused", status=403)


async def _failure_page(
    request: web.Request,
    source: Source,
    advice: Literal["cancelled", "expired", "inactive", "other_browser", "refused", "too_many", "unavailable"],
    *,
    status: int,
    retry_after_s: int = 0,
) -> web.Response:
    response = await render(
        request,
        "sign_in_failed.html",
        status=status,
        advice=advice,
        source=source.name,
        retry_path=source.retry_path,
        sign_in_path=SIGN_IN_PATH,
        retry_after_s=retry_after_s,
    )
    if retry_after_s:
        response.headers["Retry-After"] = str(retry_after_s)
    return response
