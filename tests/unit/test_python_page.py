"""docs/python.md: the example runs, and nothing is forgotten."""

import re
import typing
from pathlib import Path

import pytest

import stackwatch
from stackwatch.errors import MissingMetadataError, UsageError, VanishedError
from stackwatch.model.flags import ConvertFlags, FlagKeywords
from stackwatch.testing.synthetic import SyntheticAcquisition

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The example does what it says when it is copied into a file."""
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "python.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == "ready sequence"
    assert lines[1].startswith("em_041 color uint8 ['1', '2-2-1'")
    assert lines[2].startswith("missing_metadata · ")
    assert (tmp_path / "em_041" / "datasource-properties.json").is_file()


def test_every_keyword_is_named():
    """The page lists the keywords of the function, and the class explains each."""
    keywords = set(typing.get_type_hints(FlagKeywords))
    listed = PAGE[PAGE.index("## Keywords") : PAGE.index("`convert` also takes")]

    assert keywords | {"stackwatch convert", "help(stackwatch.ConvertFlags)"} == set(
        re.findall(r"`([^`]+)`", listed)
    )
    explained = ConvertFlags.__doc__ or ""
    assert all(f"    {name} :" in explained for name in keywords)


def test_public_names_are_reached_lazily():
    """Every public name is there, and a wrong one is an AttributeError."""
    assert all(getattr(stackwatch, name) is not None for name in stackwatch.__all__)
    assert set(stackwatch.__all__) <= set(dir(stackwatch))
    with pytest.raises(AttributeError, match="no attribute 'convrt'"):
        _ = stackwatch.convrt


def test_functions_raise_our_errors(tmp_path: Path):
    """Mistakes are errors of ours, and the built-in that a caller would expect."""
    SyntheticAcquisition().write(tmp_path / "run")

    with pytest.raises(MissingMetadataError):
        stackwatch.convert(tmp_path / "run", tmp_path / "out")
    with pytest.raises(UsageError, match="category"):
        stackwatch.convert(tmp_path / "run", tmp_path / "out", category="colour")  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(TypeError):
        stackwatch.inspect(tmp_path / "run", voxel_size=(1, 1, 1))  # type: ignore[call-arg] # wrong on purpose
    with pytest.raises(VanishedError):
        stackwatch.convert(tmp_path / "none", tmp_path / "out", voxel_size_nm=(1, 1, 1))


def test_inspect_returns_the_reason_instead_of_raising(tmp_path: Path):
    """What would be parked is a value of the result."""
    SyntheticAcquisition().write(tmp_path / "run")
    found = stackwatch.inspect(tmp_path / "run")

    assert isinstance(found.error, MissingMetadataError)
    assert found.record["status"] == "parked"
