"""Read a large file of each case plane by plane and tell by how much this process grew.

`python -m stackwatch.testing.measured_reading FOLDER CASE ...` prints one JSON document. Each
case's small file is read first, so that loading its library does not count. The growth is the
kernel's own high-water mark of the resident set, which is set back before each file: what
libraries allocate counts, and what they map of the file too.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path

import numpy as np

from stackwatch.readers import volume
from stackwatch.readers.protocol import StatesMemory
from stackwatch.testing.reader_cases import CASES, ReaderCase, read_all

MIB = 2**20


def resident_mib(word: str) -> float:
    """Return one of the kernel's figures of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{word}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(word)


def measure(case: ReaderCase, path: Path) -> dict[str, float]:
    """Return what reading every plane once took."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mib("VmRSS")
    with case.opened(path) as reader:
        info = reader.info
        stated = reader.decode_bytes if isinstance(reader, StatesMemory) else 0
        plane_bytes = info.size_y * info.size_x * np.dtype(info.pixels.dtype_name).itemsize
        for z in range(info.size_z):
            plane = reader.read_plane(0, 0, z, (0, info.size_y))
            assert (plane[0, 0], plane[-1, -1]) == (z % 251 + 1, z % 251 + 1)
            del plane
    return {
        "grown_mib": resident_mib("VmHWM") - before,
        "stated_mib": stated / MIB,
        "plane_mib": plane_bytes / MIB,
        "voxels_mib": plane_bytes * info.size_z / MIB,
    }


def main() -> None:
    """Measure the cases that the command line names."""
    folder, *names = sys.argv[1:]
    found = {}
    for number, name in enumerate(names):
        case = CASES[name]
        assert case.write is not None
        small, large = Path(folder, f"{number}s"), Path(folder, f"{number}l")
        small.mkdir()
        large.mkdir()
        with case.opened(case.write(small, case.voxels())) as reader:
            read_all(reader)
        setattr(volume, "BLOCK_BYTES", case.block_bytes)  # noqa: B010 - a constant elsewhere
        path = case.write_large(large)
        found[name] = measure(case.for_large(), path)
        path.unlink()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
