"""The slices of one stack, for the engine: read, digested, and turned into voxels."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stackwatch.errors import MixedSlicesError
from stackwatch.model.acquisition import show_path
from stackwatch.model.image import ImageInfo, PixelFormat
from stackwatch.model.plan import BLACK, PlaneRef, StackPlan
from stackwatch.readers.book import OpenedFile, SourceBook
from stackwatch.readers.pixels import apply_treatment, is_identity, upright
from stackwatch.readers.protocol import RawPlane, StatesMemory

__all__ = ["SourceBook", "StackSource"]


class StackSource:
    """The `SliceSource` of one timepoint of a stack; keys are 0 to z - 1.

    A plane whose bytes are voxels already goes from the file into the slab by one system call, and
    is hashed there. Everything else is decoded into an array of its own and treated.

    Parameters
    ----------
    book : SourceBook
        Shared by all StackSources of a conversion.
    plan : StackPlan
    t : int
        Timepoint.
    """

    def __init__(self, book: SourceBook, plan: StackPlan, t: int) -> None:
        self._book = book
        self._plan = plan
        self._planes = plan.planes_tz[t]
        self._channel = max((ref.c for ref in self._planes), default=0)
        self._size = plan.layers[0].size
        self._is_identity = len(plan.layers) == 1 and is_identity(plan.pixels, plan.treatment)
        self._uses = book.uses_of(plan)
        self._decode_bytes: int | None = None

    @property
    def can_read_rows(self) -> bool:
        """Whether reading some rows costs about their share of the whole slice."""
        return self._plan.can_read_rows and self._plan.treatment.orientation == 1

    @property
    def decode_bytes(self) -> int:
        """Memory that one call of `read_slice_into` needs beside `outs`, in bytes.

        The decoded plane, the file where it is decoded from memory, and one more plane for the
        steps of the treatment.
        """
        if self._decode_bytes is None:
            self._decode_bytes = self._count_decode_bytes()
        return self._decode_bytes

    def iter_keys(self) -> Iterator[int]:
        """Yield the index of each slice."""
        yield from range(len(self._planes))

    def read_slice_into(
        self, key: int, outs: Sequence[NDArray[Any]], rows: tuple[int, int]
    ) -> None:
        """Decode rows of one slice into the caller's arrays, as `SliceSource` says.

        Raises
        ------
        CorruptSliceError, MixedSlicesError, ChangedDuringConversionError, VanishedError
            The caller passes them on.
        """
        ref = self._planes[key]
        if ref.file == BLACK:
            for out in outs:
                out[...] = 0
            return
        is_last = rows[1] == self._size.y or not self.can_read_rows
        keep = self._uses[ref.file] > 1 or not is_last
        rel = self._plan.files[ref.file]
        with self._book.borrowed(rel, keep=keep, scene=self._plan.scene) as opened:
            self._check(opened)
            raw = self._raw_plane(opened, ref)
            if raw is not None:
                self._read_raw(opened, raw, outs[0], rows)
            else:
                self._run_digest(opened, ref)
                self._read_decoded(opened, ref, outs, rows)
            if not keep:
                self._complete_digest(opened)

    def _count_decode_bytes(self) -> int:
        ref = next((ref for ref in self._planes if ref.file != BLACK), None)
        if ref is None:
            return 0
        rel, pixels = self._plan.files[ref.file], self._plan.pixels
        with self._book.borrowed(rel, keep=True, scene=self._plan.scene) as opened:
            self._check(opened)
            is_raw = self._raw_plane(opened, ref) is not None
            stored = 0 if opened.ranges is not None else opened.bytes.size
            if isinstance(opened.reader, StatesMemory):
                stored = opened.reader.decode_bytes
        plane = self._size.x * self._size.y * np.dtype(pixels.dtype_name).itemsize * pixels.samples
        held = self._book.files.held_bytes(rel)
        return held + (0 if is_raw else stored + 2 * plane) + 2**20

    def _raw_plane(self, opened: OpenedFile, ref: PlaneRef) -> RawPlane | None:
        """Return where the voxels of a plane lie, if they need neither decoder nor treatment."""
        if not self._is_identity or opened.ranges is None:
            return None
        return opened.ranges.raw_plane(ref.t, ref.c, ref.z)

    def _check(self, opened: OpenedFile) -> None:
        """Compare an opened file with the plan, once."""
        if opened.is_checked:
            return
        found, expected = opened.reader.info, self._plan.pixels
        pixels = found.pixels_of(self._channel)
        size = (found.size_x, found.size_y)
        is_whole = len(found.scenes) < 2 or len(self._plan.files) == 1
        if not is_whole or pixels != expected or size != (self._size.x, self._size.y):
            raise self._mixed(opened.entry.path, replace(found, pixels=pixels))
        self._check_extent(opened.entry.path, found)
        opened.is_checked = True

    def _check_extent(self, rel: str, found: ImageInfo) -> None:
        """Make sure that a file holds no more planes than the plan reads, and no fewer."""
        if self._plan.file_extent_tcz is None:
            return
        t, c, z = self._plan.file_extent_tcz
        if (found.size_t, found.size_c) == (t, c) and found.size_z == (z or found.size_z):
            return
        raise MixedSlicesError(
            f"“{show_path(rel)}” holds {found.size_t} timepoints, {found.size_c} channels and "
            f"{found.size_z} slices, but the files beside it hold {t}, {c} and {z or 'others'}. "
            "What it holds more would be lost. Replace it, or exclude it with `ignore`.",
            hint="Replace the file that differs, or exclude it with `ignore`.",
            path=show_path(rel),
            found=[found.size_t, found.size_c, found.size_z],
            expected=[t, c, z],
        )

    def _mixed(self, rel: str, found: ImageInfo) -> MixedSlicesError:
        is_ = _describe(found.size_x, found.size_y, found.pixels)
        wanted = _describe(self._size.x, self._size.y, self._plan.pixels)
        return MixedSlicesError(
            f"“{show_path(rel)}” is {is_}, but the stack is {wanted}. Remove it, or exclude it "
            "with `ignore`.",
            hint="Remove the slice that differs, or exclude it with `ignore`.",
            path=show_path(rel),
            found=is_,
            expected=wanted,
        )

    def _run_digest(self, opened: OpenedFile, ref: PlaneRef) -> None:
        """Let the digest run over a plane that is about to be decoded."""
        digest = opened.digest
        start, end = 0, opened.bytes.size
        if opened.ranges is not None:
            start, end = opened.ranges.byte_span(ref.t, ref.c, ref.z)
        with digest.lock:
            if digest.position <= end and digest.reaches(start):
                self._book.count_bytes(digest.run_to(opened.bytes, end, self._book.block))
            elif digest.position < start:
                self._book.count_bytes(end - start)

    def _complete_digest(self, opened: OpenedFile) -> None:
        digest = opened.digest
        with digest.lock:
            rest = digest.run_to(opened.bytes, digest.size, self._book.block)
        self._book.count_bytes(rest)

    def _read_raw(
        self, opened: OpenedFile, raw: RawPlane, out: NDArray[Any], rows: tuple[int, int]
    ) -> None:
        """Read rows straight into `out`, and hash them there if they are next in the digest."""
        target = out
        if not out.flags.c_contiguous:
            target = np.empty(out.shape, out.dtype)
        view = target.view(np.uint8).reshape(-1).data
        for run in raw.runs:
            first, last = max(run.first_row, rows[0]), min(run.first_row + run.rows, rows[1])
            if first < last:
                part = view[(first - rows[0]) * raw.row_bytes : (last - rows[0]) * raw.row_bytes]
                offset = run.offset + (first - run.first_row) * raw.row_bytes
                self._read_part(opened, offset, part)
        if not raw.dtype.isnative:
            target.byteswap(inplace=True)
        if target is not out:
            np.copyto(out, target)

    def _read_part(self, opened: OpenedFile, offset: int, part: memoryview) -> None:
        digest = opened.digest
        with digest.lock:
            was_read = digest.position > offset
            if digest.reaches(offset):
                gap = digest.run_to(opened.bytes, offset, self._book.block)
                opened.bytes.read_into(offset, part)
                digest.update(part)
                self._book.count_bytes(gap + len(part))
                return
        opened.bytes.read_into(offset, part)
        if not was_read:
            self._book.count_bytes(len(part))

    def _read_decoded(
        self,
        opened: OpenedFile,
        ref: PlaneRef,
        outs: Sequence[NDArray[Any]],
        rows: tuple[int, int],
    ) -> None:
        reader, treatment = opened.reader, self._plan.treatment
        rel = opened.entry.path
        if self.can_read_rows:
            plane = reader.read_plane(ref.t, ref.c, ref.z, rows)
        else:
            height = self._size.x if treatment.orientation >= 5 else self._size.y
            whole = reader.read_plane(ref.t, ref.c, ref.z, (0, height))
            plane = upright(whole, treatment.orientation)[rows[0] : rows[1]]
        clipped = apply_treatment(plane, treatment, reader.palette_rgb(), outs, rel)
        if clipped:
            self._book.count_clipped(self._plan, clipped)


def _describe(size_x: int, size_y: int, pixels: PixelFormat) -> str:
    extras = [
        word
        for word, is_so in (
            ("with alpha", pixels.has_alpha),
            ("inverted", pixels.is_inverted),
            (f"orientation {pixels.orientation}", pixels.orientation != 1),
            (pixels.scale_words, bool(pixels.scale_words)),
        )
        if is_so
    ]
    kind = f"{size_x} x {size_y} {pixels.dtype_name} {pixels.kind}"
    return ", ".join([kind, *extras])
