"""What the documents say is true, and nothing is tracked that should not be."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from stackwatch.errors import StackwatchError, error_by_code

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "requirements/README.md"]
)
ERROR_ROW = re.compile(
    r"^\| `(?P<code>\w+)` \| (?P<disposition>\w+)(?:, at most (?P<attempts>\d+))? \| (?P<exit>\d+) "
    r"\| (?P<meaning>[^|]+) \| (?P<remedy>[^|]+) \|$",
    re.MULTILINE,
)
CHANGE_KINDS = ("Removed", "Deprecated", "Added", "Changed", "Fixed")


def tracked_files() -> list[Path]:
    """Return the files git knows, or every file outside hidden folders where there is no git."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = [name for name in listed.stdout.decode().split("\0") if name]
        return [ROOT / name for name in names if (ROOT / name).is_file()]
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(ROOT).parts)
    ]


def error_rows() -> dict[str, re.Match[str]]:
    """Return the row of every code in docs/errors.md."""
    text = (ROOT / "docs/errors.md").read_text()
    return {row["code"]: row for row in ERROR_ROW.finditer(text)}


def shipped_errors() -> list[type[StackwatchError]]:
    """Return our error classes in the order of their codes; a test may define more."""
    kinds = error_by_code().items()
    return [kind for _, kind in sorted(kinds) if kind.__module__.startswith("stackwatch.")]


def test_errors_page_has_every_code_once_and_no_other() -> None:
    """Every error class has one row in docs/errors.md, and every row a class."""
    codes = [row["code"] for row in ERROR_ROW.finditer((ROOT / "docs/errors.md").read_text())]

    assert [kind.code for kind in shipped_errors()] == sorted(codes)


@pytest.mark.parametrize("kind", shipped_errors(), ids=lambda kind: kind.code)
def test_errors_page_tells_what_the_class_does(kind: type[StackwatchError]) -> None:
    """The row of a code names the class's disposition, attempts and exit code."""
    row = error_rows()[kind.code]
    attempts = int(row["attempts"]) if row["attempts"] else None

    assert (row["disposition"], attempts, int(row["exit"])) == (
        str(kind.disposition),
        kind.max_attempts,
        kind.exit_code,
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link of a document leads to a file that exists."""
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", document.read_text())
    broken = [link for link in links if not (document.parent / link).exists()]

    assert broken == []


def test_every_document_is_reached_from_the_readme() -> None:
    """README names every page in docs/, and docs/adr/README.md every record."""
    readme = (ROOT / "README.md").read_text()
    pages = [path for path in ROOT.glob("docs/*.md") if f"docs/{path.name}" not in readme]
    index = (ROOT / "docs/adr/README.md").read_text()
    records = [path for path in ROOT.glob("docs/adr/0*.md") if path.name not in index]

    assert [path.name for path in pages] == []
    assert [path.name for path in records] == []


def test_make_targets_explain_themselves_and_exist() -> None:
    """Every `make` target has a help line, and every `make X` in a document is a target."""
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None
    explained = set(re.findall(r"^([a-z]+):.*## \S", makefile, re.MULTILINE))
    named = {
        target
        for document in DOCUMENTS
        for target in re.findall(r"(?:`|^\$ |^)make ([a-z]+)", document.read_text(), re.MULTILINE)
    }

    assert set(phony[1].split()) == explained
    assert named - explained == set()


def test_changelog_keeps_its_form() -> None:
    """CHANGELOG has sections `Unreleased` or number and date, and only the known headings."""
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    form = re.compile(r"Unreleased|\d+\.\d+\.\d+ – \d{4}-\d{2}-\d{2}")
    kinds = re.findall(r"^### (.+)$", text, re.MULTILINE)

    assert versions != []
    assert [version for version in versions if not form.fullmatch(version)] == []
    assert [kind for kind in kinds if kind not in CHANGE_KINDS] == []


def refused_strings() -> dict[str, re.Pattern[str]]:
    """Return what may stand in no tracked file, with a name for each."""
    refused = {
        "address of a package file": r"https?://\S+\.(?:whl|tar\.gz)\b",
        "index option": r"--(?:extra-)?index-url[ =]+\S*://",
        "place of this checkout": re.escape(f"{ROOT}/"),
    }
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        host = re.match(r"\w+://(?:[^/@]*@)?([^/:]+)", os.environ.get(variable, ""))
        if host:
            refused[f"host of {variable}"] = re.escape(host[1])
    return {name: re.compile(pattern) for name, pattern in refused.items()}


def test_no_address_of_this_machine_is_tracked() -> None:
    """No tracked file names a package index, a package file's address, or this checkout's place."""
    refused = refused_strings()
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [
            f"{path.relative_to(ROOT)}: {name}"
            for name, form in refused.items()
            if form.search(text)
        ]

    assert found == []


def test_no_large_file_is_tracked() -> None:
    """No tracked file is over 100 kB, but the lists of hashes."""
    large = [
        path.relative_to(ROOT).as_posix()
        for path in tracked_files()
        if path.stat().st_size > 100_000 and path.parent.name != "requirements"
    ]

    assert large == []


def test_requirements_are_pins_with_hashes() -> None:
    """A requirements file holds comments, `name==version` and hashes: no address, no option."""
    line_form = re.compile(r"#.*|[a-z0-9.-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}")
    wrong = [
        f"{path.name}: {line}"
        for path in sorted(ROOT.glob("requirements/*.txt"))
        for line in path.read_text().splitlines()
        if not line_form.fullmatch(line)
    ]

    assert wrong == []


def test_requirements_cover_what_pyproject_asks_for() -> None:
    """Every dependency of pyproject.toml is pinned; run.txt and dev.txt agree in every version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = {
        re.split(r"[<>=!~\[ ;]", dependency)[0].lower()
        for dependency in project["project"]["dependencies"]
    }
    pins = {
        name: set(re.findall(r"^(\S+)==(\S+)", (ROOT / "requirements" / name).read_text(), re.M))
        for name in ("run.txt", "dev.txt")
    }

    assert names - {name for name, _ in pins["run.txt"]} == set()
    assert pins["run.txt"] - pins["dev.txt"] == set()
