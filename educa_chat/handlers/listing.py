"""Long lists on pages without scripts: search and pagination."""

from typing import Any, NamedTuple
from urllib.parse import urlencode

from aiohttp import web

from educa_chat.handlers.api import is_storable, query_number

ROWS_A_PAGE = 50
MAX_WORDS = 100
_MAX_PAGE = 10**6


class Listing(NamedTuple):
    """The part of a list that a page shows."""

    words: str
    """The search text; empty: the whole list."""
    number: int
    """The page number, starting at 1."""

    @classmethod
    def of(cls, request: web.Request) -> "Listing":
        """Read `q` and `page` from the query. Raises HTTPBadRequest."""
        words = request.query.get("q", "").strip()
        number = query_number(request, "page")
        if len(words) > MAX_WORDS or not is_storable(words):
            raise web.HTTPBadRequest
        return cls(words, min(max(1, number or 1), _MAX_PAGE))

    @property
    def offset(self) -> int:
        return (self.number - 1) * ROWS_A_PAGE

    def context(self, total: int) -> dict[str, Any]:
        """Return the template context for a list of `total` rows."""
        return {
            "words": self.words,
            "total": total,
            "earlier": self._link(self.number - 1) if self.number > 1 else None,
            "later": self._link(self.number + 1) if self.offset + ROWS_A_PAGE < total else None,
        }

    def path(self, path: str, **query: str) -> str:
        """Return the address of this part of the list at `path`, with `query` added."""
        words = {"q": self.words} if self.words else {}
        number = {"page": str(self.number)} if self.number > 1 else {}
        return f"{path}?{urlencode(words | number | query)}"

    def _link(self, number: int) -> str:
        return self._replace(number=number).path("")
