"""GzipBytes: any bytes at any time, once in order, in many threads, and nothing damaged passes."""

import gzip
import io
import random
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stackwatch.errors import CorruptSliceError
from stackwatch.readers import gunzip
from stackwatch.readers.gunzip import GzipBytes, inflated_head

PLAIN = np.random.default_rng(3).integers(0, 9, 1_000_000, dtype=np.uint8).tobytes()


def opened(packed: bytes) -> GzipBytes:
    """Return a source over bytes in memory."""
    return GzipBytes(io.BytesIO(packed), "a.nii.gz")


@pytest.fixture
def dense_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave copies every 64 KiB, and few of them, so that small files have what large ones have."""
    monkeypatch.setattr(gunzip, "_LEAST_SPACING", 2**16)
    monkeypatch.setattr(gunzip, "_MOST_COPIES", 8)
    monkeypatch.setattr(gunzip, "_OUTPUT_BYTES", 2**14)
    monkeypatch.setattr(gunzip, "_INPUT_BYTES", 2**12)


@pytest.mark.usefixtures("dense_copies")
@pytest.mark.parametrize("members", [1, 3, 40])
def test_any_bytes_at_any_time(members):
    """Bytes anywhere, forward and back, of one member or of several, are the plain ones."""
    size = len(PLAIN) // members + 1
    parts = [PLAIN[start : start + size] for start in range(0, len(PLAIN), size)]
    source = opened(b"".join(gzip.compress(part, 1) for part in parts))
    rng = random.Random(members)
    for _ in range(60):
        start = rng.randrange(len(PLAIN))
        end = min(len(PLAIN), start + rng.randrange(100_000))

        assert PLAIN[start:end] == source.read(start, end - start)
    assert PLAIN == source.read(0, len(PLAIN))
    source.ensure_whole(len(PLAIN))


@pytest.mark.usefixtures("dense_copies")
def test_threads_share_one_decompressor():
    """Many threads read different places of one file at once."""
    packed = gzip.compress(PLAIN, 1)
    first = opened(packed)

    def read(start: int) -> bool:
        source = first.reopened(io.BytesIO(packed))
        return PLAIN[start : start + 50_000] == source.read(start, 50_000)

    starts = [*range(0, len(PLAIN) - 50_000, 50_000)] * 2
    random.Random(1).shuffle(starts)
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, starts))


def test_read_once_in_order(monkeypatch):
    """Read from the beginning to the end, no byte is decompressed twice."""
    produced = []
    inflate = GzipBytes._inflate

    def counted(source, place, limit):
        answer = inflate(source, place, limit)
        produced.append(len(answer[0]))
        return answer

    monkeypatch.setattr(GzipBytes, "_inflate", counted)
    source = opened(gzip.compress(PLAIN, 1))
    for start in range(0, len(PLAIN), 100_000):
        source.read(start, min(100_000, len(PLAIN) - start))
    source.ensure_whole(len(PLAIN))

    assert len(PLAIN) == sum(produced)


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 1000])
def test_cut_short(cut):
    """A file that lacks its last bytes, even only its checksum, is not whole."""
    source = opened(gzip.compress(PLAIN, 1)[:-cut])

    with pytest.raises(CorruptSliceError, match="truncated"):
        source.ensure_whole(len(PLAIN))


def test_shorter_than_wanted():
    """A whole file with fewer bytes than its header promises is not whole either."""
    source = opened(gzip.compress(PLAIN[:5000]))

    with pytest.raises(CorruptSliceError, match="5,000"):
        source.read(4000, 2000)
    with pytest.raises(CorruptSliceError, match="5,000"):
        source.ensure_whole(6000)


def test_wrong_checksum():
    """Damage that still decompresses is found at the end."""
    packed = bytearray(gzip.compress(PLAIN, 0))
    packed[len(packed) // 2] ^= 1
    source = opened(bytes(packed))

    with pytest.raises(CorruptSliceError, match="check"):
        source.ensure_whole(len(PLAIN))


def test_padding_is_no_member():
    """Zeros after the last member are left alone."""
    source = opened(gzip.compress(PLAIN[:5000]) + bytes(512))
    source.ensure_whole(5000)

    assert PLAIN[:5000] == source.read(0, 5000)


def test_head():
    """The first bytes tell the format; what is no gzip tells nothing."""
    assert PLAIN[:512] == inflated_head(gzip.compress(PLAIN)[:2048])
    assert b"" == inflated_head(b"\x1f\x8b nothing of the kind")
    assert b"" == inflated_head(zlib.compress(b"x"))
