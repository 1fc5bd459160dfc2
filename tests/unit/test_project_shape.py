"""The house style as far as a machine can see it: sizes, names, docstrings."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src" / "stackwatch"
TESTS = ROOT / "tests"

MODULE_LINES = 600
MODULE_LINES_WITHOUT_REASON = 400
FUNCTION_LINES = 60
PARAMETERS = 8
PUBLIC_METHODS = 20

LONG_MODULES: dict[str, str] = {
    "src/stackwatch/errors.py": "a catalogue: the whole tree of errors is read in one place",
}
"""Modules over 400 lines, each with the reason why it is still one idea."""

REFUSED_PREFIXES = ("get_", "handle_", "process_", "manage_", "do_")
REFUSED_MODULES = ("utils", "util", "helpers", "helper", "common", "misc")

IMPOSED_NAMES: dict[str, str] = {}
"""Names a library prescribes, each with that library."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def parse(path: Path) -> list[ast.AST]:
    """Return all nodes of a file."""
    return list(ast.walk(ast.parse(path.read_text())))


def modules(folder: Path) -> list[Path]:
    """Return every Python file under `folder`, sorted."""
    return sorted(folder.rglob("*.py"))


def show(path: Path) -> str:
    """Return the path as the tables above write it."""
    return path.relative_to(ROOT).as_posix()


def iter_functions(path: Path) -> Iterator[Function]:
    """Yield every function and method of a file, nested ones too."""
    for node in parse(path):
        if isinstance(node, Function):
            yield node


def count_body_lines(function: Function) -> int:
    """Return the lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    last = body[-1].end_lineno
    assert last is not None
    return last - body[0].lineno + 1


def count_parameters(function: Function) -> int:
    """Return how many arguments a caller has to know of."""
    arguments = function.args
    names = [a.arg for a in arguments.posonlyargs + arguments.args + arguments.kwonlyargs]
    return len([name for name in names if name not in ("self", "cls")])


def is_refused(name: str) -> bool:
    """Tell whether a function's name says nothing about what it does."""
    return name.lstrip("_").startswith(REFUSED_PREFIXES) and name not in IMPOSED_NAMES


def test_modules_stay_small() -> None:
    """No module is over 600 lines, and each over 400 has a reason in the table."""
    lengths = {show(path): len(path.read_text().splitlines()) for path in modules(SRC)}
    too_long = {name: n for name, n in lengths.items() if n > MODULE_LINES}
    unexplained = {
        name: n
        for name, n in lengths.items()
        if n > MODULE_LINES_WITHOUT_REASON and not LONG_MODULES.get(name)
    }

    assert too_long == {}
    assert unexplained == {}


def test_no_reason_outlives_its_module() -> None:
    """The table of long modules names only modules that are long."""
    stale = [
        name
        for name in LONG_MODULES
        if len((ROOT / name).read_text().splitlines()) <= MODULE_LINES_WITHOUT_REASON
    ]

    assert stale == []


def test_functions_stay_short() -> None:
    """No function body is over 60 lines."""
    long = [
        f"{show(path)}:{function.lineno} {function.name} ({count_body_lines(function)} lines)"
        for path in modules(SRC)
        for function in iter_functions(path)
        if count_body_lines(function) > FUNCTION_LINES
    ]

    assert long == []


def test_functions_take_few_parameters() -> None:
    """No function takes more than 8 parameters, but a command, which has one for each option."""
    crowded = [
        f"{show(path)}:{function.lineno} {function.name} ({count_parameters(function)})"
        for path in modules(SRC)
        if SRC / "cli" not in path.parents
        for function in iter_functions(path)
        if count_parameters(function) > PARAMETERS
    ]

    assert crowded == []


def test_classes_have_few_public_methods() -> None:
    """No class offers more than 20 public methods."""
    crowded = []
    for path in modules(SRC):
        for node in parse(path):
            if not isinstance(node, ast.ClassDef):
                continue
            methods = [m for m in node.body if isinstance(m, Function) and m.name[0] != "_"]
            if len(methods) > PUBLIC_METHODS:
                crowded.append(f"{show(path)} {node.name} ({len(methods)})")

    assert crowded == []


def test_names_say_something() -> None:
    """No function is named get_, handle_, process_, manage_ or do_; no module utils or helpers."""
    functions = [
        f"{show(path)}:{function.lineno} {function.name}"
        for path in modules(SRC)
        for function in iter_functions(path)
        if is_refused(function.name)
    ]
    files = [
        show(path)
        for path in modules(ROOT / "src") + modules(TESTS)
        if path.stem in REFUSED_MODULES or path.parent.name in REFUSED_MODULES
    ]

    assert functions == []
    assert files == []


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("get_size", True),
        ("_handle_event", True),
        ("process_slab", True),
        ("read_slice", False),
        ("target", False),
        ("getter", False),
    ],
)
def test_refused_names_are_recognised(name: str, refused: bool) -> None:
    """A refused beginning is seen behind underscores, and only as a whole word."""
    assert is_refused(name) is refused


def test_every_test_states_its_claim() -> None:
    """Every test has a docstring."""
    silent = [
        f"{show(path)}:{function.lineno} {function.name}"
        for path in modules(TESTS)
        for function in iter_functions(path)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]

    assert silent == []


def test_unit_and_property_tests_do_not_sleep() -> None:
    """No unit, property or parity test sleeps: time is passed in, or an event is waited for."""
    sleeping = []
    for ring in ("unit", "property", "parity"):
        for path in modules(TESTS / ring):
            calls = (n for n in parse(path) if isinstance(n, ast.Call))
            sleeping += [
                f"{show(path)}:{call.lineno}"
                for call in calls
                if ast.unparse(call.func).split(".")[-1] == "sleep"
            ]

    assert sleeping == []
