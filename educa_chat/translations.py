"""The languages of the pages, and the choice of one for each request."""

import io
from collections.abc import Mapping
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib import resources

from babel import negotiate_locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

SOURCE_LANGUAGE = "en"
LANGUAGES = ("en", "es")


@cache
def load_translations() -> Mapping[str, NullTranslations]:
    """Return the catalogues by language. They are compiled in memory, so no compiled files can be out of date."""
    translations: dict[str, NullTranslations] = {SOURCE_LANGUAGE: NullTranslations()}
    for language in LANGUAGES:
        if language == SOURCE_LANGUAGE:
            continue
        source = resources.files("educa_chat") / "locale" / language / "LC_MESSAGES" / "educa_chat.po"
        compiled = io.BytesIO()
        with source.open("rb") as po:
            write_mo(compiled, read_po(po, locale=language))
        compiled.seek(0)
        translations[language] = GNUTranslations(compiled)
    return translations


def negotiate_language(accept_language: str) -> str:
    """Return the best language for an Accept-Language header (RFC 9110 §12.5.4)."""
    wanted: list[tuple[float, str]] = []
    for part in accept_language.split(",")[:20]:
        tag, _, parameter = part.strip().partition(";")
        quality = parameter.strip().removeprefix("q=") or "1"
        try:
            wanted.append((-float(quality), tag.strip().lower()))
        except ValueError:
            continue
    wanted.sort(key=lambda item: item[0])
    return negotiate_locale([tag for quality, tag in wanted if quality < 0], LANGUAGES, sep="-") or SOURCE_LANGUAGE
