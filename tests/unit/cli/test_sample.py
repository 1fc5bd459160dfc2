"""`config check --sample`: which files count, and which pattern leaves out the others."""

import os
from pathlib import Path

import pytest

from stackwatch.cli.sample import describe_sample, sample_path
from stackwatch.errors import UsageError
from stackwatch.settings import FolderSettings, Settings


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    """Return a drop folder with an acquisition and what does not belong to it."""
    run = tmp_path / "drop" / "run_1"
    (run / "previews").mkdir(parents=True)
    (run / "deep" / "er").mkdir(parents=True)
    for name in ("a.tif", "b.TIF", "deep/er/c.tif", "x.tif.part", "Thumbs.db", "previews/p.jpg"):
        (run / name).touch()
    os.mkfifo(run / "pipe")
    (run / "link").symlink_to("/etc")
    (tmp_path / "drop" / "loose.tif").touch()
    return tmp_path / "drop"


def settings(drop: Path, **more: object) -> Settings:
    """Return settings for the folder."""
    values = {"name": "em", "path": drop, "target": Path("/out"), **more}
    return Settings(folder=(FolderSettings.model_validate(values),))


def test_every_file_is_told_why(drop: Path):
    """L12: each file counts, or is left out by a pattern that is named, or is refused."""
    found = sample_path(settings(drop, ignore=["previews/", "deep/er/*"]), drop)

    assert {"number": 3, "examples": ["loose.tif", "run_1/a.tif", "run_1/b.TIF"]} == {
        "number": found["counted"]["number"],
        "examples": sorted(found["counted"]["examples"]),
    }
    assert {
        "previews/": ["run_1/previews/"],
        "deep/er/*": ["run_1/deep/er/c.tif"],
        "*.part": ["run_1/x.tif.part"],
        "Thumbs.db": ["run_1/Thumbs.db"],
    } == {entry["pattern"]: entry["examples"] for entry in found["ignored"]}
    assert ["run_1/link", "run_1/pipe"] == sorted(found["refused"]["examples"])


def test_nested_files_match_a_plain_suffix(drop: Path):
    """L12: `*.tif` means every file of that name, however deep it lies."""
    found = sample_path(settings(drop, ignore=["*.tif", "previews/"]), drop / "run_1")

    (entry,) = [entry for entry in found["ignored"] if entry["pattern"] == "*.tif"]
    assert ["a.tif", "deep/er/c.tif"] == sorted(entry["examples"])
    assert ["b.TIF"] == found["counted"]["examples"]


def test_patterns_see_the_path_within_the_acquisition(drop: Path):
    """The same pattern leaves out the same file, whether its drop folder is named or itself."""
    configured = settings(drop, ignore=["deep/*"])
    for path in (drop, drop / "run_1", drop / "run_1" / "deep"):
        found = sample_path(configured, path)
        assert 1 == sum(entry["pattern"] == "deep/*" for entry in found["ignored"]), path


def test_people_read_it_too(drop: Path):
    """The numbers, the patterns and some examples are told in words."""
    text = describe_sample(sample_path(settings(drop), drop))

    assert "5 files count" in text
    assert "1 left out by `Thumbs.db`: run_1/Thumbs.db" in text
    assert "2 refused" in text


def test_a_path_elsewhere_is_taken_for_an_acquisition_of_the_only_folder(drop: Path, tmp_path):
    """Before it is dropped, one can see what would count; with two folders it is not clear."""
    sample = tmp_path / "sample"
    sample.mkdir()
    (sample / "1.tif").touch()
    other = FolderSettings(name="other", path=tmp_path / "other", target=Path("/out"))

    assert 1 == sample_path(settings(drop), sample)["counted"]["number"]
    with pytest.raises(UsageError, match="in no drop folder"):
        sample_path(Settings(folder=(*settings(drop).folder, other)), sample)
    with pytest.raises(UsageError, match="is no folder"):
        sample_path(settings(drop), drop / "loose.tif")
