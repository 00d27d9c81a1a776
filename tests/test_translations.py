"""Every visible string is translated into every language."""

import ast
import json
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from educa_chat.translations import LANGUAGES, SOURCE_LANGUAGE, load_translations, negotiate_language

ROOT = Path(__file__).parent.parent
LOCALE = ROOT / "educa_chat" / "locale"
PLACEHOLDER = re.compile(r"%\(\w+\)s|%d|\{\w+\}|</?\w+>")


def extracted() -> set[str | tuple[str, ...]]:
    with (LOCALE / "babel.cfg").open() as mapping:
        methods, options = parse_mapping_cfg(mapping)  # type: ignore[no-untyped-call]
    found: set[str | tuple[str, ...]] = set()
    for folder in ("educa_chat", "templates"):
        methods_here = [(pattern.removeprefix(f"{folder}/"), method) for pattern, method in methods]
        options_here = {pattern.removeprefix(f"{folder}/"): given for pattern, given in options.items()}
        for _, _, message, *_ in extract_from_dir(ROOT / folder, methods_here, options_here):
            found.add(message)
    assert len(found) > 50
    return found


def catalogue(language: str) -> Catalog:
    with (LOCALE / language / "LC_MESSAGES" / "educa_chat.po").open("rb") as file:
        return read_po(file, locale=language)


def strings(message: Message) -> tuple[str, ...]:
    return tuple(map(str, message.string if isinstance(message.string, tuple) else (message.string,)))


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != SOURCE_LANGUAGE])
def test_strings_and_translations_match(language: str) -> None:
    translated = {message.id: message for message in catalogue(language) if message.id}
    assert extracted() == set(translated)
    for id, message in translated.items():
        assert not message.fuzzy, id
        assert all(strings(message)), id


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != SOURCE_LANGUAGE])
def test_translations_keep_placeholders_and_tags(language: str) -> None:
    for message in catalogue(language):
        if message.id:
            ids = message.id if isinstance(message.id, tuple) else (message.id,)
            for string in strings(message):
                assert set(PLACEHOLDER.findall(string)) == set(PLACEHOLDER.findall(str(ids[-1]))), message.id


def test_catalogues_load_with_plurals() -> None:
    spanish = load_translations()["es"]
    one, many = "A message can have at most %d character.", "A message can have at most %d characters."
    assert [spanish.ngettext(one, many, n) for n in (0, 1, 2)] == [
        "Un mensaje puede tener como máximo %d caracteres.",
        "Un mensaje puede tener como máximo %d carácter.",
        "Un mensaje puede tener como máximo %d caracteres.",
    ]


def test_the_best_matching_language_is_chosen() -> None:
    for header, language in (
        ("", "en"),
        ("es", "es"),
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("en-GB,es;q=0.5", "en"),
        ("fr,es;q=0.3", "es"),
        ("fr", "en"),
        ("es;q=0,en", "en"),
        ("en;q=0.1,es;q=0.2", "es"),
        ("*", "en"),
        (";;;q=,=", "en"),
        ("es;q=nan", "en"),
        ("a" * 10_000, "en"),
    ):
        assert negotiate_language(header) == language, header


def test_scripts_contain_no_untranslated_text() -> None:
    """Scripts take their texts from the page's JSON. A literal of several words would be in only one language."""
    for script in (ROOT / "educa_chat" / "static" / "js").glob("*.js"):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", script.read_text(encoding="utf-8"), flags=re.DOTALL)
        for literal in re.findall(r"'((?:[^'\\\n]|\\.)*)'|\"((?:[^\"\\\n]|\\.)*)\"", code):
            text = "".join(literal)
            assert not re.search(r"[A-Z][a-z]+ [a-z]+ [a-z]+", text), f"{script.name}: {text}"


def test_handlers_contain_no_untranslated_text() -> None:
    """A sentence in a handler must be in a call of gettext or ngettext, in a log call, or in a docstring."""
    for module in (ROOT / "educa_chat" / "handlers").glob("*.py"):
        tree = ast.parse(module.read_text(encoding="utf-8"))
        allowed: set[int] = set()
        for node in ast.walk(tree):
            is_call = isinstance(node, ast.Call)
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_call or is_docstring or isinstance(node, ast.Assert):
                allowed |= {id(child) for child in ast.walk(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in allowed:
                assert not re.match(r"[A-Z][a-z]+ [a-z]+ .*\.$", node.value), json.dumps(node.value)
