"""What a check of the settings tells about the server, without asking it."""

from pathlib import Path

import pytest

from stackwatch.settings import FolderSettings, Settings, find_warnings
from stackwatch.settings.outside import WebknossosSettings
from stackwatch.settings.survey_server import describe_delivery_of, server_warnings

URL = "https://wk.example.org"


def folder(**more: object) -> FolderSettings:
    """Return a folder with other values."""
    return FolderSettings(name="em", path=Path("/drop"), target=Path("/out/em"), **more)  # type: ignore[arg-type]


def settings(url: str = URL, delivery: str = "upload", **server: object) -> Settings:
    """Return settings with one folder."""
    return Settings(
        webknossos=WebknossosSettings(url=url, **server),  # type: ignore[arg-type]
        folder=(folder(delivery=delivery),),
    )


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """Return the file of a token that nobody else can read."""
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text("secret-token")
    return file


def test_all_is_well(token):
    """With https and a token of one's own there is nothing to say."""
    assert [] == list(server_warnings(settings(token_file=token)))
    assert [] == list(server_warnings(settings("http://127.0.0.1:9000", token_file=token)))
    assert [] == list(server_warnings(Settings()))


def test_a_token_that_is_missing_or_everybodys_is_told(token):
    """C24: the file's name is told, never what is in it."""
    (missing,) = server_warnings(settings(token_file=token.with_name("none")))
    token.chmod(0o644)
    (readable,) = server_warnings(settings(token_file=token))
    (unset,) = server_warnings(settings())

    assert "cannot be read" in missing
    assert "chmod 600" in readable
    assert "secret-token" not in readable
    assert "token_file" in unset
    assert [] == list(server_warnings(settings(delivery="none"))), "nobody needs it"


def test_an_address_that_is_not_encrypted_is_told(token):
    """On the way anybody could read the token."""
    (warning,) = server_warnings(settings("http://wk.example.org", token_file=token))

    assert "is not https" in warning
    found = find_warnings(settings("http://wk.example.org", token_file=token))
    assert warning in found


def test_a_target_that_the_server_cannot_find_is_told(token):
    """`register` needs a rule that leads to the target."""
    rules = {"/out": "file:///srv"}
    (warning,) = server_warnings(settings(delivery="register", token_file=token))
    mapped = settings(delivery="register", token_file=token, path_map=rules)

    assert "path_map" in warning
    assert [] == list(server_warnings(mapped))


@pytest.mark.parametrize(
    ("delivery", "words"),
    [
        ("none", None),
        ("upload", f"datasets are uploaded to {URL}"),
        ("register", f"datasets are registered, without copying, at {URL}"),
        ("paths", f"datasets are put into the storage (copy) of {URL}"),
    ],
)
def test_where_datasets_go_in_words(delivery, words):
    """A sentence for each way, and none where nothing is delivered."""
    assert words == describe_delivery_of(folder(delivery=delivery), URL)
    assert describe_delivery_of(folder(delivery=delivery), None) is None
