"""The files that are accepted as the logo of a site."""

from pathlib import Path

import pytest

from educa_chat.errors import SettingsInvalid
from educa_chat.logo import MAX_BYTES, read_logo
from educa_chat.settings import load_settings

SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'


def test_the_content_of_an_image_decides_its_type(tmp_path: Path) -> None:
    for content, type in (
        (SVG, "image/svg+xml"),
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\xff\xd8\xff...", "image/jpeg"),
        (b"RIFF....WEBP", "image/webp"),
    ):
        (tmp_path / "logo.gif").write_bytes(content)
        assert read_logo("site.logo", tmp_path / "logo.gif") == (type, content), type


def test_settings_with_an_invalid_logo_are_refused(tmp_path: Path, subtests: pytest.Subtests) -> None:
    for content, reason in (
        (None, "can't read"),
        (b"", "not an image"),
        (b"GIF89a", "not an image"),
        (b"<html></html>", "not an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "not an image"),
        (b"\x89PNG\r\n\x1a\n".ljust(MAX_BYTES + 1), "at most 100 KiB"),
    ):
        with subtests.test(reason=reason):
            path = tmp_path / "logo.png"
            if content is not None:
                path.write_bytes(content)
            with pytest.raises(SettingsInvalid, match=r"^site\.logo: .*" + reason):
                load_settings(None, {"EDUCA_CHAT_SITE_LOGO": str(path)})


def test_a_blank_or_multiline_site_name_is_refused(subtests: pytest.Subtests) -> None:
    for name in ("", "  ", "A\nB"):
        with subtests.test(name=name):
            with pytest.raises(SettingsInvalid, match=r"^site\.name: "):
                load_settings(None, {"EDUCA_CHAT_SITE_NAME": name})
