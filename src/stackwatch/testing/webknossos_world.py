"""What the stand-in for WEBKNOSSOS knows: people, folders, datasets, uploads, and the rights."""

import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stackwatch.testing.webknossos_faults import Behaviour, Faults
from stackwatch.testing.webknossos_http import (
    RefusedError,
    Response,
    forbidden,
    not_logged_in,
    refusal,
)

ORGANIZATION: Final = "lab"
OTHER_ORGANIZATION: Final = "neighbours"

ADMIN_TOKEN: Final = "admin-7c0c5d1e6b2f"  # noqa: S105 - of a server that exists in tests only
MANAGER_TOKEN: Final = "manager-91be07d24a3c"  # noqa: S105 - the same
TEAM_TOKEN: Final = "team-manager-5f2b8e0c77"  # noqa: S105 - the same
MEMBER_TOKEN: Final = "member-3a4dd0c1f9e8"  # noqa: S105 - the same
STRANGER_TOKEN: Final = "stranger-88b1f64e2d"  # noqa: S105 - the same

NOT_UPLOADED: Final = "Not yet fully uploaded."
NOT_IN_PLACE: Final = "Not yet marked as fully uploaded to paths."

_DENIED = "Token may be expired, consider reloading. "


class MovableClock:
    """The time of day, and how far a test has moved it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time() + self.ahead_s

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self.ahead_s += seconds


@dataclass(frozen=True, slots=True)
class Team:
    """People of one organization."""

    id: str
    name: str
    organization: str


@dataclass(slots=True)
class User:
    """A person with a token. `managed` are the teams whose manager this is."""

    id: str
    name: str
    organization: str
    is_admin: bool = False
    is_dataset_manager: bool = False
    teams: tuple[Team, ...] = ()
    managed: tuple[Team, ...] = ()

    @property
    def may_administrate(self) -> bool:
        """Whether uploads may be begun."""
        return self.is_admin or self.is_dataset_manager or bool(self.managed)


@dataclass(slots=True)
class Folder:
    """A folder of datasets. `parent` is empty for the root of an organization."""

    id: str
    name: str
    parent: str
    organization: str
    teams: tuple[Team, ...] = ()


@dataclass(slots=True)
class Dataset:
    """A dataset's row. `source` is its data source JSON, None as long as it has none."""

    id: str
    name: str
    organization: str
    folder_id: str
    uploader_id: str
    datastore: str
    created_ms: int
    is_active: bool = False
    status: str = NOT_UPLOADED
    creation_type: str = "Upload"
    is_virtual: bool = True
    source: dict[str, Any] | None = None
    tags: list[str] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    description: str | None = None
    teams: list[str] = field(default_factory=list)
    is_public: bool = False
    sorting_ms: int = 0
    used_bytes: int = 0
    import_url: str | None = None

    @property
    def directory(self) -> str:
        """Name of the dataset's directory in the storage."""
        return f"{self.name}-{self.id}"


@dataclass(slots=True)
class ChunkedFile:
    """Which chunks of a file are there; how many there are was said with the first one."""

    total: int
    seen: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Upload:
    """An upload that is not finished."""

    id: str
    dataset_id: str
    organization: str
    user_id: str
    file_count: int
    reserved_bytes: int | None
    paths: list[str]
    folder: Path
    last_active_s: float
    needs_conversion: bool = False
    files: dict[str, ChunkedFile] = field(default_factory=dict)
    finishing: int = 0
    """How many requests to finish are at work."""


@dataclass(frozen=True, slots=True)
class Datastore:
    """One entry of the list of datastores."""

    name: str
    url: str
    allows_upload: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was answered, for tests to count."""

    side: str
    route: str
    method: str
    target: str
    version: int
    token: str
    status: int
    at_s: float
    body_bytes: int = 0


def new_id() -> str:
    """Return 24 hexadecimal digits."""
    return secrets.token_hex(12)


class World:
    """Everything the server keeps, and the rules of who may do what.

    Every access happens under `lock`, but for the bytes of files.

    Parameters
    ----------
    root : Path
        `uploading` and `storage` below it hold the files.
    """

    def __init__(self, root: Path, behaviour: Behaviour) -> None:
        self.root = root
        (root / "paths").mkdir(parents=True, exist_ok=True)
        self.behaviour = behaviour
        self.faults = Faults()
        self.clock = MovableClock()
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.epoch = 0
        """Raised with every restart: work begun before it comes to nothing."""
        self.datastores: list[Datastore] = []
        self.folders: dict[str, Folder] = {}
        self.teams: list[Team] = []
        self.users: dict[str, User] = {}
        self.datasets: dict[str, Dataset] = {}
        self.uploads: dict[str, Upload] = {}
        self.requests: list[Asked] = []
        self.mishaps: list[str] = []
        """Tracebacks of mistakes of this server itself: must stay empty."""
        self._grants: dict[tuple[str, str, str], tuple[float, bool]] = {}
        self._populate()

    @property
    def storage(self) -> Path:
        """Where finished datasets lie: `<organization>/<directory>`."""
        return self.root / "storage"

    def _populate(self) -> None:
        microscopy, guests = (Team(new_id(), name, ORGANIZATION) for name in ("EM", "Guests"))
        self.teams = [microscopy, guests]
        root = self.add_folder("Datasets", "", ORGANIZATION)
        self.add_folder("Datasets", "", OTHER_ORGANIZATION)
        self.add_folder("em", root.id, ORGANIZATION, (microscopy,))
        self.users = {
            ADMIN_TOKEN: User(
                new_id(), "Ada Admin", ORGANIZATION, is_admin=True, teams=(microscopy, guests)
            ),
            MANAGER_TOKEN: User(
                new_id(), "Max Manager", ORGANIZATION, is_dataset_manager=True, teams=(microscopy,)
            ),
            TEAM_TOKEN: User(
                new_id(), "Tea Manager", ORGANIZATION, teams=(microscopy,), managed=(microscopy,)
            ),
            MEMBER_TOKEN: User(new_id(), "Mo Member", ORGANIZATION, teams=(microscopy,)),
            STRANGER_TOKEN: User(new_id(), "Sam Stranger", OTHER_ORGANIZATION, is_admin=True),
        }

    def add_folder(
        self, name: str, parent: str, organization: str, teams: tuple[Team, ...] = ()
    ) -> Folder:
        """Create a folder."""
        folder = Folder(new_id(), name, parent, organization, teams)
        self.folders[folder.id] = folder
        return folder

    def root_folder(self, organization: str) -> Folder:
        """Return the folder at the top."""
        return next(
            folder
            for folder in self.folders.values()
            if not folder.parent and folder.organization == organization
        )

    def now_ms(self) -> int:
        """Return Unix milliseconds."""
        return int(self.clock.now() * 1000)

    def user(self, token: str) -> User:
        """Return who asks WEBKNOSSOS, or refuse."""
        found = self.users.get(token)
        if found is None:
            raise not_logged_in()
        return found

    def dataset(self, dataset_id: str, token: str) -> Dataset:
        """Return a dataset that the asker may see, or refuse."""
        found = self.datasets.get(dataset_id)
        user = self.users.get(token)
        if found is not None and (found.is_public or self.may_read(user, found)):
            return found
        text = f"Dataset “{dataset_id}” could not be found or accessed."
        if user is None:
            text += " You may need to log in to see it."
        raise refusal(text, status=404)

    def dataset_to_edit(self, dataset_id: str, token: str) -> Dataset:
        """Return a dataset that the asker may change, or refuse."""
        user = self.user(token)
        found = self.dataset(dataset_id, token)
        if not self.may_write(user, found):
            raise forbidden()
        return found

    def may_read(self, user: User | None, dataset: Dataset) -> bool:
        """Tell whether somebody may see a dataset."""
        return user is not None and user.organization == dataset.organization

    def may_write(self, user: User | None, dataset: Dataset) -> bool:
        """Tell whether somebody may change a dataset."""
        if user is None or user.organization != dataset.organization:
            return False
        if user.is_admin or user.is_dataset_manager:
            return True
        teams = set(dataset.teams) | {team.id for team in self.folder_teams(dataset.folder_id)}
        return any(team.id in teams for team in user.managed)

    def may_write_folder(self, user: User, folder_id: str) -> bool:
        """Tell whether somebody may put something into a folder."""
        folder = self.folders.get(folder_id)
        if folder is None or folder.organization != user.organization:
            return False
        if user.is_admin or user.is_dataset_manager:
            return True
        teams = self.folder_teams(folder_id)
        return any(team in teams for team in user.managed)

    def folder_teams(self, folder_id: str) -> tuple[Team, ...]:
        """Return the teams of a folder and of those above it."""
        found: tuple[Team, ...] = ()
        folder = self.folders.get(folder_id)
        while folder is not None:
            found += folder.teams
            folder = self.folders.get(folder.parent)
        return found

    def check_administrator(self, token: str, organization: str) -> None:
        """Refuse on the datastore who may not begin uploads there."""
        user = self.users.get(token)
        may = user is not None and user.organization == organization and user.may_administrate
        if not self._granted(token, "administrate", organization, may=may):
            text = "Access forbidden: Invalid access token"
            raise _denied(text if user is None else "Token authentication failed.")

    def check_writer(self, token: str, dataset_id: str) -> None:
        """Refuse on the datastore who may not change a dataset."""
        dataset = self.datasets.get(dataset_id)
        may = dataset is not None and self.may_write(self.users.get(token), dataset)
        if not self._granted(token, "write", dataset_id, may=may):
            raise _denied("Access forbidden: Invalid access token")

    def check_reader(self, token: str, dataset_id: str) -> None:
        """Refuse on the datastore who may not see a dataset."""
        dataset = self.datasets.get(dataset_id)
        may = dataset is not None and (
            dataset.is_public or self.may_read(self.users.get(token), dataset)
        )
        if not self._granted(token, "read", dataset_id, may=may):
            raise _denied("Access forbidden: Invalid access token")

    def _granted(self, token: str, mode: str, resource: str, *, may: bool) -> bool:
        """Return the remembered answer, or remember this one."""
        key = (token, mode, resource)
        now = self.clock.now()
        asked, answer = self._grants.get(key, (0.0, False))
        if now - asked < self.behaviour.access_lasts_s:
            return answer
        self._grants[key] = (now, may)
        return may

    def upload(self, upload_id: str) -> Upload:
        """Return an upload that is alive, or refuse; asking keeps it alive."""
        found = self.uploads.get(upload_id)
        now = self.clock.now()
        if found is not None and now - found.last_active_s > self.behaviour.upload_lasts_s:
            del self.uploads[upload_id]
            found = None
        if found is None:
            raise refusal(f"Could not find running dataset upload with upload id “{upload_id}”.")
        found.last_active_s = now
        return found

    def used_bytes(self, organization: str) -> int:
        """Return what the datasets of an organization take."""
        return sum(d.used_bytes for d in self.datasets.values() if d.organization == organization)

    def iter_visible(self, token: str) -> Iterator[Dataset]:
        """Yield the datasets that the asker may see."""
        user = self.users.get(token)
        for dataset in self.datasets.values():
            if dataset.is_public or self.may_read(user, dataset):
                yield dataset


def _denied(why: str) -> RefusedError:
    return RefusedError(Response(403, f"{_DENIED}{why}".encode()))
