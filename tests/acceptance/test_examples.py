"""The examples in docstrings, run as they stand there."""

import doctest
import importlib.machinery
import importlib.util
import pkgutil

import pytest

import stackwatch

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(stackwatch.__path__, "stackwatch.")
    if not module.name.endswith("__main__")
)


def has_examples(name: str) -> bool:
    """Tell whether a module's source has an example, without importing it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    loader = spec.loader
    assert isinstance(loader, importlib.machinery.SourceFileLoader)
    source = loader.get_source(name)
    return source is not None and ">>> " in source


@pytest.mark.parametrize("name", [name for name in MODULES if has_examples(name)])
def test_examples_of_docstrings_are_true(name: str) -> None:
    """Every example in a module's docstrings gives what it says."""
    failed, attempted = doctest.testmod(importlib.import_module(name))

    assert failed == 0
    assert attempted > 0
