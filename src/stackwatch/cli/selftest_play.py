"""A small made-up acquisition on its way through the service as it is deployed, and what must come.

Nothing of anybody's is touched: its name is its own, its sidecar forbids delivery, and what is
removed at the end is what was made here, recognised by its name and by its run.
"""

import fnmatch
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from stackwatch.daemon.control import request
from stackwatch.errors import StackwatchError, UsageError
from stackwatch.layout.ignore import compile_ignore
from stackwatch.ledger.reader import JobDetails, LedgerReader
from stackwatch.ledger.records import AcquisitionRecord
from stackwatch.model.acquisition import show_path
from stackwatch.model.geometry import MAG_1, Vec3
from stackwatch.model.job import AcquisitionState
from stackwatch.settings import FolderSettings
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer, coordinate_stack

PREFIX: Final = "stackwatch-selftest-"
SHAPE_ZYX: Final = (40, 120, 160)
LAYOUTS: Final = frozenset({"auto", "sequence"})
_PATTERN: Final = "slice_{z:04d}.tif"
_POLL_S: Final = 0.3
_CONVERTED_S: Final = 120.0
"""How long a conversion that is under way is waited for before all is removed."""

_ENDS: Final = frozenset({
    AcquisitionState.PUBLISHED, AcquisitionState.PARKED, AcquisitionState.IGNORED,
})  # fmt: skip


@dataclass(slots=True)
class Verdict:
    """What came of it.

    Attributes
    ----------
    folder, acquisition : str
    status : str
        `succeeded`, `parked` or `failed`.
    dataset : str
        Where it was published; empty if it was not.
    job : int or None
    problems : list of str
        What is not as it should be; empty if all is well.
    steps : dict of str to float
        After how many seconds each state was seen.
    left : list of str
        What could not be removed.
    """

    folder: str
    acquisition: str
    status: str = "failed"
    dataset: str = ""
    job: int | None = None
    problems: list[str] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)

    def as_record(self) -> dict[str, Any]:
        """Return the document of docs/json.md."""
        return {
            "status": self.status,
            "folder": self.folder,
            "acquisition": self.acquisition,
            "job_id": self.job,
            "dataset": self.dataset or None,
            "steps": self.steps,
            "problems": self.problems,
            "left": self.left,
        }


def refuse_folder(folder: FolderSettings) -> None:
    """Refuse a folder whose settings a made-up stack of slices cannot pass.

    Raises
    ------
    UsageError
        Names the setting.
    """
    is_put_away = folder.on_success != "keep" and not folder.on_success_dry_run
    why = {
        f'layout = "{folder.layout}"': folder.layout not in LAYOUTS,
        f"ignore = {list(folder.ignore)}": bool(
            compile_ignore(folder.ignore)(_PATTERN.format(z=0))
        ),
        f'marker = "{folder.marker}"': bool(folder.marker) and not _name_marker(folder.marker),
        f'on_success = "{folder.on_success}"': is_put_away,
        f'bucket = "{folder.bucket}"': folder.bucket is not None,
    }
    for setting, is_in_the_way in why.items():
        if is_in_the_way:
            raise UsageError(
                f"The folder “{folder.name}” has {setting}: a made-up stack of TIFF slices would "
                "not go through it as yours do. Try another folder.",
                hint="Name another folder with --folder.",
                folder=folder.name,
            )


def _name_marker(pattern: str | None) -> str:
    """Return a file name that the pattern of markers takes; empty if none is found."""
    name = (pattern or "").replace("*", "selftest").replace("?", "1")
    return name if pattern and fnmatch.fnmatchcase(name, pattern) else ""


class Play:
    """One run through one drop folder.

    Parameters
    ----------
    folder : FolderSettings
    state_dir : Path
    say : callable
        Tells a person how far it is.
    """

    def __init__(self, folder: FolderSettings, state_dir: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._state_dir = state_dir
        self._say = say
        self._name = PREFIX + uuid.uuid4().hex[:8]
        self._top = folder.path / self._name
        self._key = "/".join([self._name, *["run"] * (folder.acquisition_depth - 1)])
        self._began_s = time.monotonic()
        self.verdict = Verdict(folder.name, self._key)

    def drop(self) -> None:
        """Put the acquisition into the drop folder, in one go.

        Raises
        ------
        UsageError
            You may not write there.
        """
        building = self._folder.path / f".{self._name}"
        sidecar = f'name = "{self._name}"\nvoxel_size_nm = [8, 8, 40]\nupload = false\n'
        extra = {"stackwatch.toml": sidecar.encode()}
        if marker := _name_marker(self._folder.marker):
            extra[marker] = b""
        if self._folder.expected_files is not None:
            extra["stackwatch.toml"] += f"expected_files = {SHAPE_ZYX[0]}\n".encode()
        layer = SyntheticLayer(shape_zyx=SHAPE_ZYX, pattern=_PATTERN)
        inner = building / self._key.partition("/")[2]
        try:
            SyntheticAcquisition((layer,), extra=extra).write(inner)
            for path in (building, *building.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)  # whatever your umask is
            building.rename(self._top)
        except OSError as error:
            shutil.rmtree(building, ignore_errors=True)
            hint = "Run it as somebody who may write there, for example with sudo."
            raise UsageError(
                f"“{show_path(self._folder.path)}” cannot be written to: {error.strerror}. {hint}",
                hint=hint,
                path=show_path(self._folder.path),
            ) from error
        self._note("dropped")

    def wait(self, timeout_s: float, cancelled: threading.Event) -> None:
        """Follow it until it is published or parked; note a problem if that does not come."""
        deadline_s = self._began_s + timeout_s
        while time.monotonic() < deadline_s and not cancelled.wait(_POLL_S):
            found, details = self._look()
            if found is None:
                continue
            self._note(str(found.state))
            if found.state in _ENDS:
                self._conclude(found, details)
                return
        self.verdict.problems.append(
            "it was stopped" if cancelled.is_set() else self._describe_wait(timeout_s)
        )

    def clean_up(self) -> None:
        """Have it forgotten, and remove what was made here and nothing else.

        A conversion that is under way is waited for: it would publish after all was removed.
        """
        self._await_conversion()
        try:
            path = str(self._folder.path / self._key)
            request(self._state_dir, {"command": "forget", "path": path})
        except StackwatchError as error:
            self.verdict.problems.append(f"it could not be forgotten: {error.message}")
        for place in (self._top, *self._own_dataset()):
            shutil.rmtree(place, ignore_errors=True)
            if place.exists():
                self.verdict.left.append(show_path(place))

    # ------------------------------------------------------------ parts

    def _await_conversion(self) -> None:
        deadline_s = time.monotonic() + _CONVERTED_S
        while time.monotonic() < deadline_s:
            found, _ = self._look()
            if found is None or found.state is not AcquisitionState.CONVERTING:
                return
            time.sleep(_POLL_S)

    def _note(self, step: str) -> None:
        if step not in self.verdict.steps:
            after_s = round(time.monotonic() - self._began_s, 1)
            self.verdict.steps[step] = after_s
            self._say(f"{after_s:6.1f} s  {step}")

    def _look(self) -> tuple[AcquisitionRecord | None, JobDetails | None]:
        with LedgerReader.open(self._state_dir) as reader:
            mine = (
                one for one in reader.list_acquisitions(self._folder.name) if one.key == self._key
            )
            found = next(mine, None)
            job = reader.last_job_of(found.acquisition_id) if found is not None else None
            return found, reader.show_job(job.job_id) if job is not None else None

    def _describe_wait(self, timeout_s: float) -> str:
        from stackwatch.ledger.explaining import list_reasons

        found, _ = self._look()
        if found is None:
            return (
                f"it was not seen within {timeout_s:.0f} s: is the folder watched by the service "
                "that has this state_dir, and may its user read there?"
            )
        reasons = "; ".join(list_reasons(found, None)) or "no reason is known"
        return f"it is {found.state} after {timeout_s:.0f} s: {reasons}"

    def _conclude(self, found: AcquisitionRecord, details: JobDetails | None) -> None:
        verdict = self.verdict
        verdict.job = details.job.job_id if details is not None else None
        if found.state is not AcquisitionState.PUBLISHED or details is None:
            verdict.status = "parked"
            told = details.job.as_record() if details is not None else found.as_record()
            verdict.problems.append(f"it was parked: {told['message']}")
            return
        verdict.problems += self._find_flaws(details)
        verdict.status = "failed" if verdict.problems else "succeeded"

    def _find_flaws(self, details: JobDetails) -> Iterator[str]:
        """Look at the dataset itself."""
        from stackwatch.pipeline.verify import verify_dataset

        if details.deliveries:
            yield "it is to be delivered, although its sidecar says no"
        if len(details.datasets) != 1:
            yield f"it became {len(details.datasets)} datasets"
            return
        path = details.datasets[0].path
        self.verdict.dataset = show_path(path)
        try:
            verify_dataset(path)
            yield from self._compare_voxels(path, details.job.as_record()["result"])
        except (StackwatchError, OSError) as error:
            yield f"the dataset cannot be read: {error}"

    def _compare_voxels(self, path: Path, result: dict[str, Any]) -> Iterator[str]:
        from stackwatch.pipeline.stored import open_stored
        from stackwatch.stores.protocol import MagGrid

        layer = result["datasets"][0]["layers"][0]
        size = Vec3(SHAPE_ZYX[2], SHAPE_ZYX[1], SHAPE_ZYX[0])
        if tuple(layer["bounding_box"]["size"]) != tuple(size):
            yield f"the dataset is {layer['bounding_box']['size']} voxels large, not {list(size)}"
            return
        if self._folder.cast is not None or self._folder.rescale is not None:
            return  # then the values are other ones, as they should be
        chunk = Vec3(self._folder.chunk_vx, self._folder.chunk_vx, self._folder.chunk_vx)
        stored = open_stored(path / layer["name"] / "1", MagGrid(MAG_1, size, chunk, chunk))
        found = stored.read(0, slice(None), slice(None))
        if not np.array_equal(found, coordinate_stack(SHAPE_ZYX, "uint8")):
            yield "the voxels are not those that were dropped"

    def _own_dataset(self) -> Iterator[Path]:
        """Yield the dataset that this very acquisition became, if it is there."""
        from stackwatch.pipeline.manifest import load_manifest

        _, details = self._look()
        for dataset in details.datasets if details is not None else ():
            is_ours = dataset.path.name.startswith(PREFIX)
            if not is_ours or dataset.path.parent != self._folder.target:
                continue
            try:
                run_id = load_manifest(dataset.path)[0].get("run_id")
            except (StackwatchError, OSError):
                continue
            if run_id == dataset.run_id:
                yield dataset.path
