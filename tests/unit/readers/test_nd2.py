"""ND2: frames in the order of the loops, nothing invented for those that are not there."""

import io
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr

import stackwatch
from stackwatch.errors import CorruptSliceError, UnsupportedFormatError
from stackwatch.model.image import Channel
from stackwatch.readers import formats
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import ByteRanges, SliceReader

nd2 = pytest.importorskip("nd2", reason="nd2 is not installed: no ND2")
nd2_module = pytest.importorskip("stackwatch.readers.nd2")

SAMPLE = "nd2/bsd-pims/cluster.nd2"
MAGIC = b"\xda\xce\xbe\x0a"


def read_tzcyx(reader: SliceReader) -> np.ndarray:
    """Return every plane, axes t, z, c, y, x."""
    info = reader.info
    indices = np.ndindex(info.size_t, info.size_z, info.size_c)
    planes = [reader.read_plane(t, c, z, (0, info.size_y)).copy() for t, z, c in indices]
    return np.stack(planes).reshape(info.size_t, info.size_z, info.size_c, info.size_y, info.size_x)


class Library:
    """Stands in for nd2's file: so many loops, frames that hold their own number."""

    def __init__(self, loops: list[tuple[str, int]], frames: int, **more: Any) -> None:
        points = [SimpleNamespace(name=f"pos {n}" if n else None) for n in range(9)]
        self.experiment = [
            SimpleNamespace(
                type=kind, count=count, parameters=SimpleNamespace(points=points[:count])
            )
            for kind, count in loops
        ]
        self.attributes = SimpleNamespace(
            widthPx=5, heightPx=4, componentCount=2, sequenceCount=frames
        )
        self.metadata: Any = {}
        self.dtype = np.dtype(more.get("dtype", "uint16"))
        self.is_rgb = more.get("is_rgb", False)
        self.stream: Any = None

    def __enter__(self) -> "Library":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Do nothing."""

    def read_frame(self, number: int) -> np.ndarray:
        """Return a frame of its number."""
        self.stream.read(1)
        return np.full((2, 4, 5), number, np.uint16)


@pytest.fixture
def opened_as(monkeypatch):
    """Return a function that opens a stand-in as an ND2."""

    def opened(library: Library, scene: int = 0) -> SliceReader:
        def lend(stream: Any) -> Library:
            library.stream = stream
            return library

        monkeypatch.setattr(nd2_module, "_opened", lend)
        reader: SliceReader = nd2_module.open_nd2(io.BytesIO(MAGIC * 99), "a.nd2", scene)
        return reader

    return opened


@pytest.mark.parametrize(
    ("loops", "numbers_tz"),
    [
        ([("TimeLoop", 2), ("ZStackLoop", 3)], [[0, 1, 2], [3, 4, 5]]),
        ([("ZStackLoop", 3), ("TimeLoop", 2)], [[0, 2, 4], [1, 3, 5]]),
        ([("NETimeLoop", 2)], [[0], [1]]),
        ([("ZStackLoop", 3), ("XYPosLoop", 1)], [[0, 1, 2]]),
        ([], [[0]]),
    ],
)
def test_order_of_loops(loops, numbers_tz, opened_as):
    """Whichever loop is the faster one, each frame is the plane it was taken for."""
    found = read_tzcyx(opened_as(Library(loops, np.size(numbers_tz))))

    np.testing.assert_array_equal(numbers_tz, found[:, :, 0, 0, 0])


def test_positions(opened_as):
    """Positions are images of their own, wherever their loop stands."""
    loops = [("TimeLoop", 2), ("XYPosLoop", 3), ("ZStackLoop", 2)]
    expected = np.arange(12).reshape(2, 3, 2)
    for position in range(3):
        reader = opened_as(Library(loops, 12), position)
        assert ("", "pos 1", "pos 2") == reader.info.scenes
        found = read_tzcyx(reader)[:, :, 1, 0, 0]
        np.testing.assert_array_equal(expected[:, position], found)
    with pytest.raises(UnsupportedFormatError, match="no image 4"):
        opened_as(Library(loops, 12), 3)


def test_aborted(opened_as):
    """Frames that the experiment declares and that were never taken are absent."""
    reader = opened_as(Library([("TimeLoop", 2), ("ZStackLoop", 3)], 5))

    assert ((1, 0, 2), (1, 1, 2)) == reader.info.absent_tcz


@pytest.mark.parametrize(
    ("library", "what"),
    [
        (Library([("CustomLoop", 4)], 4), "CustomLoop of 4"),
        (Library([("TimeLoop", 2), ("NETimeLoop", 4)], 8), "no certain meaning"),
        (Library([("TimeLoop", 2)], 8), "8 frames"),
        (Library([], 1, is_rgb=True), "RGB"),
        (Library([], 1, dtype="float64"), "float64"),
    ],
)
def test_refused(library, what, opened_as):
    """What cannot be told for certain is refused by its name."""
    with pytest.raises(UnsupportedFormatError, match=what):
        opened_as(library)


def test_from_before_2010(tmp_path):
    """The old format, which is JPEG 2000, is named."""
    with pytest.raises(UnsupportedFormatError, match="as ND2 files of before 2010"):
        open_image(io.BytesIO(b"\0\0\0\x0cjP  \r\n" + bytes(600)), "old.nd2")


@pytest.mark.parametrize(
    ("suffix", "extra", "head"),
    [
        (".nd2", "nikon", MAGIC),
        (".lif", "leica", b"\x70\0\0\0\1\1\1\1\x2a"),
        (".oib", "olympus", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
    ],
)
def test_extra_is_named(suffix, extra, head, monkeypatch):
    """Without its library a format is refused with the line that installs it."""
    form = formats.format_of(head.ljust(512, b"\1"))
    assert form is not None

    def missing(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {form.library!r}", name=form.library)

    monkeypatch.setattr(formats, "import_module", missing)

    with pytest.raises(UnsupportedFormatError) as caught:
        open_image(io.BytesIO(head.ljust(512, b"\1")), f"a{suffix}")
    assert f'pip install "stackwatch[{extra}]"' in caught.value.hint


@pytest.mark.samples
def test_sample(samples, open_path):
    """The real file has its names and colours."""
    info = open_path(samples / SAMPLE).info

    expected = (
        Channel("5-FAM/pH 9.0", (120, 233, 15)),
        Channel("FM 4-64/2% CHAPS", (254, 1, 0)),
    )
    assert expected == info.channels
    assert ((), ()) == (info.scenes, info.absent_tcz)


@pytest.mark.samples
def test_spans_cover_the_file(samples, open_path):
    """The digest that follows the frames arrives at the end of the file with the last."""
    reader = open_path(samples / SAMPLE)
    assert isinstance(reader, ByteRanges)

    spans = [reader.byte_span(t, 0, z) for t in range(3) for z in range(10)]

    ends = [0, *(end for _, end in spans)]
    assert ends[:-1] == [start for start, _ in spans]
    assert ends[-1] == (samples / SAMPLE).stat().st_size


@pytest.mark.samples
def test_truncated(samples):
    """A file that ends early is damaged, wherever it is cut."""
    data = (samples / SAMPLE).read_bytes()
    for end in (100, 4096, 60_000, 300_000, len(data) - 30_000, len(data) - 1):
        with pytest.raises(CorruptSliceError):
            read_tzcyx(open_image(io.BytesIO(data[:end]), "a.nd2"))


@pytest.mark.samples
@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "beyond"])
def test_no_zeros_for_a_lost_frame(is_lost, samples):
    """A frame that the file's map does not lead to is an error, where the library gives zeros."""
    data = bytearray((samples / SAMPLE).read_bytes())
    entry = data.rindex(b"ImageDataSeq|7!")
    if is_lost:
        data[entry : entry + 12] = b"ImageLostSeq"
    else:
        place = entry + len(b"ImageDataSeq|7!")
        data[place : place + 8] = (len(data) - 4096 - 24 - 100).to_bytes(8, "little")
    reader = open_image(io.BytesIO(bytes(data)), "a.nd2")

    reader.read_plane(0, 0, 6, (0, 31))
    with pytest.raises(CorruptSliceError, match="z=7 c=0 t=0"):
        reader.read_plane(0, 0, 7, (0, 31))


@pytest.mark.samples
@pytest.mark.parametrize("is_zipped", [False, True])
def test_converted(is_zipped, samples, tmp_path):
    """The file becomes a dataset with its times, channels and slices; in an archive too."""
    path = Path(samples / SAMPLE)
    if is_zipped:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(path, path.name)
        path = tmp_path / "a.zip"

    stackwatch.convert(path, tmp_path / "set")

    with nd2.ND2File(samples / SAMPLE) as judge:
        expected = judge.asarray()
    for channel, layer in enumerate(("5-FAM_pH_9.0", "FM_4-64_2__CHAPS")):
        found = np.asarray(zarr.open_array(tmp_path / "set" / layer / "1", mode="r"))
        np.testing.assert_array_equal(expected[:, :, channel], found[:, 0].transpose(0, 3, 2, 1))
