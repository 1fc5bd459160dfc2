"""What a person says about one upload: the same names on the command line and in Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from stackwatch.errors import UsageError
from stackwatch.model.delivery import DeliveryRequest, ServerOptions

_LARGEST_MIB: Final = 1024
_MOST_PARALLEL: Final = 32


class UploadKeywords(TypedDict, total=False):
    """The keywords of `stackwatch.upload`; `UploadFlags` tells more."""

    folder: str
    name: str
    teams: Sequence[str]
    tags: Sequence[str]
    description: str
    datastore: str
    ca_file: str | Path
    token_file: str | Path
    chunk_mib: int
    parallel: int


@dataclass(frozen=True, slots=True)
class UploadFlags:
    """Options of one upload.

    Attributes
    ----------
    folder : str
        Path of a folder in WEBKNOSSOS, `Datasets/em`; what is missing of it is created. Empty: the
        root folder.
    name : str
        On the server; empty: the dataset's own.
    teams, tags : sequence of str
    description : str
    datastore : str
        Name or address; empty: the first that takes uploads.
    ca_file : str or Path
        Certificates to trust beside the system's.
    token_file : str or Path
        Empty: the systemd credential `webknossos-token`, else STACKWATCH_WEBKNOSSOS_TOKEN.
    chunk_mib : int
        Size of the pieces in which files are sent.
    parallel : int
        How many pieces are under way at the same time.

    Raises
    ------
    UsageError
        A number is out of range.
    """

    folder: str = ""
    name: str = ""
    teams: Sequence[str] = ()
    tags: Sequence[str] = ()
    description: str = ""
    datastore: str = ""
    ca_file: str | Path = ""
    token_file: str | Path = ""
    chunk_mib: int = 16
    parallel: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        _check_range("chunk_mib", self.chunk_mib, _LARGEST_MIB)
        _check_range("parallel", self.parallel, _MOST_PARALLEL)

    def request(self, dataset: Path, url: str) -> DeliveryRequest:
        """Return the request that uploads a dataset to the server at `url`."""
        server = ServerOptions(
            url=url,
            token_file=str(self.token_file),
            datastore=self.datastore,
            ca_file=str(self.ca_file),
            chunk_mib=self.chunk_mib,
            parallel=self.parallel,
        )
        return DeliveryRequest(
            kind="upload",
            dataset=dataset,
            run_id="",
            server=server,
            name=self.name,
            remote_folder=self.folder,
            teams=tuple(self.teams),
            tags=tuple(self.tags),
            description=self.description,
        )


def _check_range(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise UsageError(
            f"`{name}` must be 1 to {most} (is {value}).", hint=f"Choose `{name}` of 1 to {most}."
        )
