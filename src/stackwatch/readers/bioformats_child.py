"""The child process that runs Bio-Formats: `python -m stackwatch.readers.bioformats_child JAR`.

One Java machine, which cannot be started twice in a process, may crash or run out of memory, and
is then no more than a broken pipe to the parent. Requests come on stdin, a line of JSON each;
answers go to stdout, a line of JSON and as many bytes as it announces. At the end of stdin, which
is also the end of the parent, the child ends.
"""

import json
import os
import sys
from typing import Any, BinaryIO, Final

import numpy as np

_MOST_OPEN: Final = 4
"""Readers kept open, each with its memory; the one that was used longest ago goes first."""

_LARGEST_PART: Final = 2**28
"""Bytes asked for at a time: a Java array ends at 2 GiB, and the heap before that."""

_LEAST_CHECKED: Final = 16
"""Bytes of a plane in which the pattern is looked for."""


class _Readers:
    """The opened readers, by path and series."""

    def __init__(self, jpype: Any) -> None:
        self._jpype = jpype
        self._open: dict[str, tuple[Any, Any]] = {}

    def take(self, path: str, series: int) -> tuple[Any, Any]:
        """Return the reader of a file, at a series, and its metadata."""
        found = self._open.pop(path, None) or self._opened(path)
        self._open[path] = found
        if len(self._open) > _MOST_OPEN:
            self._open.pop(next(iter(self._open)))[0].close()
        found[0].setSeries(series)
        return found

    def _opened(self, path: str) -> tuple[Any, Any]:
        formats = self._jpype.JPackage("loci").formats
        services = self._jpype.JPackage("loci").common.services
        factory = services.ServiceFactory()
        service = factory.getInstance(formats.services.OMEXMLService)
        metadata = service.createOMEXMLMetadata()
        reader = formats.ImageReader()
        reader.setFlattenedResolutions(False)  # before setId: levels would look like series
        reader.setMetadataStore(metadata)
        try:
            reader.setId(path)
        except BaseException:
            reader.close()
            raise
        return reader, metadata


def describe(readers: _Readers, request: dict[str, Any]) -> dict[str, Any]:
    """Return what a file holds: every series, its OME-XML, and the files it is read from."""
    reader, metadata = readers.take(request["path"], 0)
    series = []
    for at in range(reader.getSeriesCount()):
        reader.setSeries(at)
        series.append(
            {
                "size_x": int(reader.getSizeX()),
                "size_y": int(reader.getSizeY()),
                "size_z": int(reader.getSizeZ()),
                "size_c": int(reader.getEffectiveSizeC()),
                "size_t": int(reader.getSizeT()),
                "samples": int(reader.getRGBChannelCount()),
                "type": int(reader.getPixelType()),
                "has_palette": bool(reader.isIndexed() and not reader.isFalseColor()),
                "is_thumbnail": bool(reader.isThumbnailSeries()),
                "levels": int(reader.getResolutionCount()),
            }
        )
    return {
        "format": str(reader.getFormat()),
        "series": series,
        "xml": str(metadata.dumpXML()),
        "files": [str(file) for file in reader.getUsedFiles()],
    }


class _Planes:
    """Reads planes into a buffer that tells which bytes were never written.

    Where a file ends too early, many readers of Bio-Formats leave the rest of the buffer as it is,
    and say nothing. So it is filled with a pattern of random bytes first.
    """

    def __init__(self, jpype: Any) -> None:
        self._jpype = jpype
        self._tools = jpype.JPackage("loci").formats.FormatTools
        self._mark = np.frombuffer(os.urandom(8), np.uint64)
        self._buffer: Any = None
        self._filling = np.empty(0, np.int8)

    def send(self, reader: Any, request: dict[str, Any], out: BinaryIO) -> None:
        """Send a plane: its description, then its bytes, some rows at a time."""
        index = reader.getIndex(request["z"], request["c"], request["t"])
        width, height = int(reader.getSizeX()), int(reader.getSizeY())
        row_bytes = width * int(reader.getRGBChannelCount())
        row_bytes *= int(self._tools.getBytesPerPixel(reader.getPixelType()))
        rows = max(1, min(height, _LARGEST_PART // row_bytes))
        # what goes wrong with the first rows goes wrong before a word is said
        data = self._read(reader, index, (0, 0, width, rows), row_bytes * rows)
        answer = {
            "bytes": row_bytes * height,
            "rows": rows,
            "is_little": bool(reader.isLittleEndian()),
            "is_interleaved": bool(reader.isInterleaved()),
        }
        _say(out, answer)
        out.write(data)
        for row in range(rows, height, rows):
            count = min(rows, height - row)
            out.write(self._read(reader, index, (0, row, width, count), row_bytes * count))
        out.flush()

    def _read(self, reader: Any, index: int, box: tuple[int, int, int, int], count: int) -> Any:
        if len(self._filling) != count:
            self._buffer = self._jpype.JArray(self._jpype.JByte)(count)
            self._filling = np.resize(self._mark, count // 8 + 1).view(np.int8)[:count]
        self._buffer[:] = self._filling
        reader.openBytes(index, self._buffer, *box)
        data = memoryview(self._buffer).cast("b").cast("B")
        whole = np.frombuffer(data[: count - count % 8], np.uint64)
        if count >= _LEAST_CHECKED and bool((whole == self._mark).any()):
            msg = "the file ends before the plane does"
            raise EOFError(msg)
        return data


def main() -> None:
    """Answer until stdin ends."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Java prints must not end up among the answers
    try:
        import jpype

        jpype.startJVM(
            "-Djava.awt.headless=true", "-Xmx1g", classpath=[sys.argv[1]], convertStrings=False
        )
        jpype.JPackage("loci").common.DebugTools.setRootLevel("ERROR")
        readers, planes = _Readers(jpype), _Planes(jpype)
        version = str(jpype.JPackage("loci").formats.FormatTools.VERSION)
    except Exception as error:  # noqa: BLE001 - of Java or Python: the parent shall hear of it
        _say(out, {"error": f"{type(error).__name__}: {error}", "kind": "start"})
        return
    _say(out, {"version": version})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "describe":
                _say(out, describe(readers, request))
            else:
                planes.send(readers.take(request["path"], request["series"])[0], request, out)
        except Exception as error:  # noqa: BLE001 - as above; the next file may be whole
            _say(out, {"error": f"{type(error).__name__}: {error}", "kind": "file"})


def _say(out: BinaryIO, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer).encode() + b"\n")
    out.flush()


if __name__ == "__main__":
    main()
