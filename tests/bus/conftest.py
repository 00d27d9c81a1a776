"""A Redis for which processes wait long."""

import pytest

from educa_chat.bus import redis_link


@pytest.fixture
def patient_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait long for Redis: on a busy machine, thousands of messages may take it more than a second."""
    monkeypatch.setattr(redis_link, "PUBLISH_TIMEOUT_S", 30.0)
    monkeypatch.setattr(redis_link, "SUBSCRIBE_TIMEOUT_S", 30.0)
