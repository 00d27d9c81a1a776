"""Longer timeouts for Redis."""

import pytest

from educa_chat.bus import redis_link


@pytest.fixture
def patient_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use longer timeouts: on a busy machine, thousands of messages may take Redis more than a second."""
    monkeypatch.setattr(redis_link, "PUBLISH_TIMEOUT_S", 30.0)
    monkeypatch.setattr(redis_link, "SUBSCRIBE_TIMEOUT_S", 30.0)
