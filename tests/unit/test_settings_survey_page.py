"""What a check of the settings tells about the status page."""

from pathlib import Path

import pytest

from stackwatch.settings import FolderSettings, Settings, find_warnings
from stackwatch.settings.outside import WebSettings
from stackwatch.settings.survey_page import page_warnings


@pytest.mark.parametrize(
    ("listen", "is_told"),
    [
        ("", False),
        ("127.0.0.1:8087", False),
        ("localhost:8087", False),
        ("[::1]:8087", False),
        ("0.0.0.0:8087", True),
        ("[::]:8087", True),
        ("lab-pc:8087", True),
    ],
)
def test_a_page_for_the_network_is_told(listen: str, is_told: bool):
    """Whoever has the page listen beyond this machine learns what that means."""
    assert is_told == any(
        "to the network" in one for one in page_warnings(WebSettings(listen=listen))
    )


def test_a_word_that_is_missing_short_or_everybodys_is_told(tmp_path: Path):
    """Without a word nobody could sign in; the word itself is not told."""
    token = tmp_path / "token"
    web = WebSettings(actions=True, token_file=token)
    (missing,) = page_warnings(web)
    token.touch(mode=0o600)
    token.write_text("short")
    (short,) = page_warnings(web)
    token.write_text("long-enough-a-word")
    assert [] == list(page_warnings(web))
    token.chmod(0o644)
    (readable,) = page_warnings(web)

    assert "cannot be read" in missing
    assert "holds no word of" in short
    assert "open to every user" in readable
    assert "long-enough" not in readable


def test_a_viewer_that_is_not_there_is_told(tmp_path: Path):
    """`config check` tells of it, with how to build one."""
    web = WebSettings(viewer=tmp_path)
    folder = FolderSettings(name="em", path=tmp_path / "in", target=tmp_path / "out")

    found = find_warnings(Settings(web=web, folder=(folder,)))

    assert any("make neuroglancer" in warning for warning in found)
    (tmp_path / "index.html").touch()
    assert [] == list(page_warnings(web))
