"""From extent, types and budget to slabs, swaths and threads. Pure.

A **swath** is a full-width range of rows that is streamed through all slices before the next one
begins. Where the whole plane fits into memory there is one swath; a plane of 30,000 x 30,000 voxels
gets several. Swaths are cut at powers of two, so a shard never spans two of them; mags so coarse
that a chunk would are made in a pass of their own, from the last mag on disk.
"""

from dataclasses import dataclass

from stackwatch.errors import BudgetTooSmallError
from stackwatch.model.geometry import Mag, Vec3
from stackwatch.stores.protocol import MagGrid

GIB = 1024**3
MIB = 1024**2
BASE_BYTES = 110 * MIB
"""The interpreter with its libraries, measured."""
THREAD_BYTES = 10 * MIB
"""What one encoding thread holds: a block as chunks, their encoded bytes, pieces of a mag."""
BLOCK_COPIES = 4
"""Where a single chunk is more than that: how often it is held."""
MAX_SHARD = 4096


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """What is to be streamed.

    Attributes
    ----------
    size : Vec3
        Extent in voxels of the first mag.
    mags : tuple of Mag
        The first is the one the slices come in.
    bytes_per_voxel : int
        Of all layers of the stack together.
    chunk : int
        Edge of a chunk.
    max_shard : Vec3 or None
        Largest shard in voxels.
    decode_bytes : int
        Memory to decode one whole slice beside the slab.
    can_read_rows : bool
        Whether the source reads rows at their share of the cost.
    threads : int
    budget_bytes : int
    slab_depth : int
        Depth of a slab and its chunks; 0 takes the chunk's edge, and 1 for a single slice.
    read_threads : int
        How many threads read; 0 takes as many as encode.
    shard_bytes : int
        What a shard being written holds in memory at most, beside the slab: that of all layers of
        the stack together. 0 where a shard is a file.
    """

    size: Vec3
    mags: tuple[Mag, ...]
    bytes_per_voxel: int
    chunk: int
    max_shard: Vec3 | None
    decode_bytes: int
    can_read_rows: bool
    threads: int
    budget_bytes: int
    slab_depth: int = 0
    read_threads: int = 0
    shard_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """How it is streamed.

    Attributes
    ----------
    grids : tuple of MagGrid
        One per mag of this pass, the first one included.
    later_mags : tuple of Mag
        Mags for a pass of their own, from the last of `grids` on disk.
    swaths : tuple of (int, int)
        Rows of the first mag: first, and one after the last.
    buffers : int
        2: the next slab is read while one is encoded; 1: in turn.
    spool : bool
        Whether the slices are first decoded into a raw file, because rows cannot be read alone.
    read_threads, encode_threads : int
    peak_bytes : int
        What it will hold in memory, the process included.
    """

    grids: tuple[MagGrid, ...]
    later_mags: tuple[Mag, ...]
    swaths: tuple[tuple[int, int], ...]
    buffers: int
    spool: bool
    read_threads: int
    encode_threads: int
    peak_bytes: int


def plan_stream(request: StreamRequest) -> StreamPlan:
    """Choose the fastest way that fits into the budget.

    Raises
    ------
    BudgetTooSmallError
        Not even the smallest swath fits; the caller parks the job.
    """
    for rows, buffers, threads in _candidates(request):
        peak = _peak_bytes(request, rows, buffers, threads)
        if peak <= request.budget_bytes:
            return _plan(request, rows, buffers, threads, peak)
    needed = min(_peak_bytes(request, *candidate) for candidate in _candidates(request))
    raise BudgetTooSmallError(
        f"Slices of {request.size.x} × {request.size.y} voxels with {request.bytes_per_voxel} "
        f"bytes each need at least {_round_up_gib(needed)} GiB of memory; `memory_gib` allows "
        f"{request.budget_bytes / GIB:.2f}. Raise `memory_gib` to {_round_up_gib(needed)}.",
        hint=f"Raise `memory_gib` to {_round_up_gib(needed)}.",
        needed_bytes=needed,
        budget_bytes=request.budget_bytes,
    )


def _round_up_gib(needed: int) -> float:
    return -(-needed * 10 // GIB) / 10


def _candidates(request: StreamRequest) -> list[tuple[int, int, int]]:
    """Return (rows, buffers, threads), the fastest first.

    A second buffer hides the latency of the source; a whole plane saves opening each file again.
    """
    threads, full = request.threads, request.size.y
    found = [(full, 2, threads), (full, 1, threads)]
    heights: list[int] = []
    height = request.chunk
    while height < full:
        heights.insert(0, height)
        height *= 2
    found += [(rows, 2, threads) for rows in heights if rows >= 8 * request.chunk]
    found += [(rows, 1, threads) for rows in heights]
    found += [(full, 1, 1)] + [(rows, 1, 1) for rows in heights]
    return [candidate for candidate in found if _makes_a_mag(request, candidate[0])]


def _makes_a_mag(request: StreamRequest, rows: int) -> bool:
    """Tell whether a pass in swaths of so many rows reaches a coarser mag, if any is wanted.

    One that does not would leave all of them to a later pass, which could not either.
    """
    return len(request.mags) == 1 or len(_mags_in_pass(request, rows)) > 1


def _peak_bytes(request: StreamRequest, rows: int, buffers: int, threads: int) -> int:
    mags, size = request.mags, request.size
    depth = _slab_depth(request)
    slab = depth * rows * size.x * request.bytes_per_voxel
    coarser = 0
    for mag in _mags_in_pass(request, rows)[1:]:
        factor = mag.factor_from(mags[0])
        width, height = -(-size.x // factor.x), -(-rows // factor.y)
        coarser += depth * width * height * request.bytes_per_voxel
    coarser += _writers_bytes(request, rows)
    decoding = request.decode_bytes * _read_threads(threads, rows, request)
    encoding = threads * _thread_bytes(request)
    if rows < size.y:
        plane = size.y * size.x * request.bytes_per_voxel
        if request.can_read_rows:
            decoding = decoding * rows // size.y
        else:  # spooling comes first and alone: one whole slice and what decoding it needs
            spooling = plane + request.decode_bytes
            return BASE_BYTES + max(spooling, slab * buffers + coarser + encoding)
    return BASE_BYTES + slab * buffers + coarser + encoding + decoding


def _writers_bytes(request: StreamRequest, rows: int) -> int:
    """Return what shards hold while they are written: those of a slab, and of the one before."""
    if not request.shard_bytes:
        return 0
    total = 0
    for mag in _mags_in_pass(request, rows):
        grid = _grid(request, mag, rows)
        height = -(-min(rows, request.size.y) // mag.factor_from(request.mags[0]).y)
        count = -(-grid.size.x // grid.shard.x) * -(-height // grid.shard.y)
        whole = grid.shard.volume * request.bytes_per_voxel
        total += 2 * count * min(request.shard_bytes, whole)
    return total


def _thread_bytes(request: StreamRequest) -> int:
    smallest_block = request.chunk**2 * _slab_depth(request) * request.bytes_per_voxel
    return max(THREAD_BYTES, BLOCK_COPIES * smallest_block)


def _read_threads(threads: int, rows: int, request: StreamRequest) -> int:
    if request.read_threads:
        return request.read_threads
    if rows < request.size.y and not request.can_read_rows:
        return 1
    return max(2, threads) if threads > 1 else 1


def _slab_depth(request: StreamRequest) -> int:
    return request.slab_depth or (1 if request.size.z == 1 else request.chunk)


def _mags_in_pass(request: StreamRequest, rows: int) -> tuple[Mag, ...]:
    """Return the mags whose chunks do not span two swaths."""
    if rows >= request.size.y:
        return request.mags
    kept = [
        mag for mag in request.mags if rows // mag.factor_from(request.mags[0]).y >= request.chunk
    ]
    return tuple(kept)


def _plan(request: StreamRequest, rows: int, buffers: int, threads: int, peak: int) -> StreamPlan:
    mags = _mags_in_pass(request, rows)
    swaths = tuple((top, min(top + rows, request.size.y)) for top in range(0, request.size.y, rows))
    return StreamPlan(
        grids=tuple(_grid(request, mag, rows) for mag in mags),
        later_mags=request.mags[len(mags) :],
        swaths=swaths,
        buffers=buffers,
        spool=len(swaths) > 1 and not request.can_read_rows,
        read_threads=_read_threads(threads, rows, request),
        encode_threads=threads,
        peak_bytes=peak,
    )


def _grid(request: StreamRequest, mag: Mag, rows: int) -> MagGrid:
    """Cut one mag: shards as large as allowed, no larger than the data, within a swath."""
    factor = mag.factor_from(request.mags[0])
    size = request.size.ceil_div(factor)
    depth = _slab_depth(request)
    limit = request.max_shard or Vec3(MAX_SHARD, MAX_SHARD, depth)
    chunk = Vec3(request.chunk, request.chunk, depth)
    height, limit_y = size.y, limit.y
    if rows < request.size.y:  # a power of two of chunks: only such a shard divides it
        height = min(height, rows // factor.y)
        limit_y = chunk.y << max(0, (limit.y // chunk.y).bit_length() - 1)
    shard = Vec3(
        _shard_edge(size.x, limit.x, chunk.x),
        _shard_edge(height, limit_y, chunk.y),
        _shard_edge(size.z, limit.z, chunk.z),
    )
    return MagGrid(mag, size, chunk, shard)


def _shard_edge(size: int, limit: int, chunk: int) -> int:
    return max(chunk, min(limit, -(-size // chunk) * chunk))
