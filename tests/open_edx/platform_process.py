"""Open edX's own LTI code as a platform. Reads a request as JSON from each line of its input, and answers likewise.

Runs in a virtual environment of its own, because it needs Django and much of Open edX.
"""

import json
import sys
from typing import Any

import django
from Cryptodome.PublicKey import RSA
from django.conf import settings

settings.configure(
    PLATFORM_NAME="Open edX",
    SECRET_KEY="s",
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    USE_TZ=True,
)
django.setup()

from lti_consumer.data import Lti1p3LaunchData  # noqa: E402
from lti_consumer.lti_1p3.consumer import LtiAdvantageConsumer  # noqa: E402


class Platform:
    """A component of a course, which has a client of its own, as in Open edX."""

    def __init__(self, issuer: str, tool: str) -> None:
        self._tool = tool
        self._issuer = issuer
        self._key = RSA.generate(2048).export_key()

    def _consumer(self) -> Any:
        consumer = LtiAdvantageConsumer(
            iss=self._issuer,
            lti_oidc_url=f"{self._tool}/lti/login",
            lti_launch_url=f"{self._tool}/lti/launch",
            client_id="client",
            deployment_id="1",
            rsa_key=self._key,
            rsa_key_id="1",
            redirect_uris=[f"{self._tool}/lti/launch"],
            tool_keyset_url=f"{self._tool}/lti/jwks",
        )
        consumer.enable_nrps(f"{self._issuer}/roster/2")
        consumer.enable_deep_linking(f"{self._tool}/lti/launch", f"{self._issuer}/dl_return")
        return consumer

    def keys(self) -> Any:
        return self._consumer().get_public_keyset()

    def preflight(self, message_type: str) -> Any:
        data = Lti1p3LaunchData(
            user_id="7", user_role="student", config_id="c", resource_link_id="r", message_type=message_type
        )
        return self._consumer().prepare_preflight_url(data)

    def launch(self, role: str, name: str | None, query: dict[str, str]) -> Any:
        consumer = self._consumer()
        consumer.set_user_data(user_id="7", role=role, full_name=name)
        consumer.set_resource_link_claim("r")
        consumer.set_launch_presentation_claim(document_target="iframe")
        consumer.set_context_claim(
            context_id="course-v1:edX+Demo+1", context_types=[], context_title="Demo", context_label="Demo"
        )
        return consumer.generate_launch_request(query)

    def token(self, form: dict[str, str]) -> Any:
        return self._consumer().access_token(form)

    def deep_link(self, token: str) -> Any:
        return self._consumer().check_and_decode_deep_linking_token(token)


platform = Platform(*sys.argv[1:])
for line in sys.stdin:
    name, arguments = json.loads(line)
    print(json.dumps(getattr(platform, name)(**arguments)), flush=True)
