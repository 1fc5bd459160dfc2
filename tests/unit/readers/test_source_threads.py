"""Files of an acquisition that is closed while a thread still reads from it."""

import os
from pathlib import Path

import pytest

from stackwatch.readers.source import FolderFiles


def test_a_thread_that_comes_late_closes_nothing_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The root's number may mean another file by the time a slow `open` comes to its end."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.raw").write_bytes(b"x")
    files = FolderFiles(tmp_path)
    stranger: list[int] = []
    real_open = os.open

    def close_in_between(path, flags, *rest, **named):
        opened = real_open(path, flags, *rest, **named)
        if path == "a" and not stranger:
            files.close()
            stranger.append(real_open("/dev/null", os.O_RDONLY))  # gets the number of the root
        return opened

    monkeypatch.setattr(os, "open", close_in_between)
    with files.open("a/x.raw") as file:
        assert b"x" == file.read()

    os.fstat(stranger[0])  # still open
    os.close(stranger[0])
