"""The raw files of an acquisition: who says what they are, and opening them so."""

from dataclasses import replace
from functools import cached_property
from typing import Any, BinaryIO, Final

from stackwatch.errors import MissingMetadataError
from stackwatch.model.acquisition import FileEntry, show_path
from stackwatch.model.plan import DatasetPlan
from stackwatch.model.raw import RawFacts, find_descriptions, is_raw
from stackwatch.readers.probe import open_image
from stackwatch.readers.protocol import ImageOpener, SliceReader
from stackwatch.readers.raw import (
    RawShape,
    RawWord,
    complete_raw,
    open_raw,
)
from stackwatch.readers.raw_text import LARGEST_TEXT, read_raw_description
from stackwatch.readers.source import AcquisitionFiles

NOTHING_SAID: Final = RawFacts()


class RawFiles:
    """The `ImageOpener` of an acquisition that may hold raw files. Safe in many threads.

    Parameters
    ----------
    files : AcquisitionFiles
    entries : mapping of str to FileEntry
        Every listed file by its path.
    stronger, weaker : sequence of RawWord
        Who wins over a text beside the file, and who gives way to it; the strongest first.
    opener : ImageOpener
        Opens everything else.
    """

    def __init__(
        self,
        files: AcquisitionFiles,
        entries: dict[str, FileEntry],
        stronger: tuple[RawWord, ...] = (),
        weaker: tuple[RawWord, ...] = (),
        opener: ImageOpener = open_image,
    ) -> None:
        self._opener = opener
        self._files = files
        self._entries = entries
        self._stronger = stronger
        self._weaker = weaker

    def __call__(self, file: BinaryIO, name: str, scene: int = 0) -> SliceReader:
        """Open an image, as `readers.probe.open_image` says; a raw file as it is described."""
        if not is_raw(name):
            return self._opener(file, name, scene)
        return open_raw(file, name, self.shape_of(name))

    def shape_of(self, path: str) -> RawShape:
        """Return what a raw file is.

        Raises
        ------
        MissingMetadataError
            Nobody says it; the caller parks.
        ConflictingMetadataError, ReadError
            The caller passes them on.
        """
        return complete_raw((*self._stronger, *self._texts_of(path), *self._weaker), path)

    def tell(self, plan: DatasetPlan) -> DatasetPlan:
        """Return a plan that says what its raw files are taken for, and who says so."""
        raws = [path for stack in plan.stacks for path in stack.files if is_raw(path)]
        if not raws:
            return plan
        shape = self.shape_of(raws[0])
        sentence = f"“{show_path(raws[0])}” is {shape.words}, by {shape.source}"
        return replace(plan, evidence=(*plan.evidence, sentence))

    def meaning(self) -> dict[str, Any]:
        """Return what the texts beside raw files say, as JSON values: it is part of the content."""
        said = {
            show_path(path): [[*one.facts.shape, *_plain(one)] for one in self._texts_of(path)]
            for path in self._descriptions
        }
        return {path: words for path, words in said.items() if words}

    @cached_property
    def _descriptions(self) -> dict[str, tuple[str, ...]]:
        return find_descriptions(sorted(self._entries))

    def _texts_of(self, path: str) -> list[RawWord]:
        """Return what the texts beside a raw file say; one that says nothing of it is none."""
        found = []
        for text in self._descriptions.get(path, ()):
            try:
                word = self._read(text)
            except MissingMetadataError:
                if self._is_settled(path):
                    continue  # a text about something else: nobody needs it
                raise
            if word.facts != NOTHING_SAID or any(word.voxel_size_nm):
                found.append(word)
        return found

    def _is_settled(self, path: str) -> bool:
        """Tell whether the stronger say everything that is needed."""
        try:
            complete_raw(self._stronger, path)
        except MissingMetadataError:
            return False
        return True

    def _read(self, path: str) -> RawWord:
        entry = self._entries[path]
        with self._files.open(path) as file:
            self._files.check(entry, file)
            data = file.read(LARGEST_TEXT)
            self._files.check(entry, file)
        return read_raw_description(data.decode("utf-8-sig", "replace"), path)


def _plain(word: RawWord) -> list[Any]:
    facts = word.facts
    return [facts.axes, facts.dtype, facts.byte_order, facts.offset, *word.voxel_size_nm]
