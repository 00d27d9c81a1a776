"""The processor time of the messages that take the longest to render."""

import gc
import time
from collections.abc import Iterable
from typing import NamedTuple

from pygments.lexers import get_lexer_by_name

from benchmarks.deployment import Deployment
from benchmarks.measures import Effort, Section
from benchmarks.report import milliseconds, spread, table
from educa_chat.markup import code, prepare, render
from tests.markup import costly

TEXT = "text and formulas"


class Slowest(NamedTuple):
    """The text of a group that took the longest to render."""

    seconds: float
    text: str


async def rendering(deployment: Deployment, effort: Effort) -> Section:
    """Measure the slowest of the texts that try to keep a renderer busy, in this process."""
    prepare()
    # Some aliases have the same lexer.
    languages = {get_lexer_by_name(alias).name: alias for alias in sorted(code.LANGUAGES)}
    groups = {TEXT: list(costly.messages())}
    groups |= {f"`{alias}`": list(costly.code_messages(alias)) for alias in languages.values()}
    # In a renderer, a garbage collection has much less to visit than here.
    gc.freeze()
    runs = [{group: _slowest(texts) for group, texts in groups.items()} for _ in range(effort.runs)]

    def row(group: str, texts: list[str]) -> tuple[str, str, str, str]:
        found = [run[group] for run in runs]
        example = min(found).text[:24].encode("unicode_escape").decode()
        return group, f"{len(texts):,}", spread((one.seconds for one in found), milliseconds), f"`` {example} ``"

    rows = sorted((row(*group) for group in groups.items()), key=lambda row: row[0] != TEXT)
    headings = ["group", "texts", "the slowest, ms", "its start"]
    return Section(table(headings, (tuple(cell.replace("|", "\\|") for cell in row) for row in rows)))


def _slowest(texts: Iterable[str]) -> Slowest:
    return max(Slowest(_cost_s(text), text) for text in texts)


def _cost_s(text: str) -> float:
    began = time.process_time()
    render(text)
    return time.process_time() - began
