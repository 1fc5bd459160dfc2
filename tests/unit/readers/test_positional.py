"""Reading by position when the disk or the share fails."""

import errno
import os
from pathlib import Path

import pytest

from stackwatch.errors import Disposition, SourceUnreadableError
from stackwatch.readers.positional import PositionalFile


@pytest.mark.parametrize("call", ["pread", "preadv"])
def test_an_error_of_the_disk_is_the_sources(tmp_path: Path, monkeypatch, call: str) -> None:
    """EIO while reading names the source's file, and the job is tried again."""
    path = tmp_path / "slice.tif"
    path.write_bytes(bytes(100))

    def fail(*_args: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with path.open("rb") as file:
        positional = PositionalFile(file, "slice.tif")
        monkeypatch.setattr(os, call, fail)
        read = {
            "pread": lambda: positional.read(0, 10),
            "preadv": lambda: positional.read_into(0, memoryview(bytearray(10))),
        }[call]
        with pytest.raises(SourceUnreadableError) as caught:
            read()

    assert Disposition.RETRY is caught.value.disposition
    assert "slice.tif" in caught.value.message
    assert "Input/output error" in caught.value.message
