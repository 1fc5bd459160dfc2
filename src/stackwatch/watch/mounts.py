"""Tell what kind of file system a path lies on, and whether it is still the same one."""

import os
import re
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

MOUNTINFO: Final = Path("/proc/self/mountinfo")

REMOTE_TYPES: Final = frozenset(
    {
        "9p", "acfs", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "fuse",
        "gfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs",
        "panfs", "prl_fs", "pvfs2", "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs", "wekafs",
    }
)  # fmt: skip
"""File systems another machine may write to without this kernel noticing; `fuse.<name>` too.
`fuseblk` (NTFS, exFAT) is a local disk and is not among them."""

_MAX_LINKS: Final = 40
"""As many symlinks as the kernel follows in one path."""

_OCTAL = re.compile(rb"\\([0-7]{3})")


class MountChange(StrEnum):
    """How the root of a drop folder compares with the one seen before."""

    SAME = "same"
    RECREATED = "recreated"
    """Another folder on the same mount: somebody removed and made it again."""
    REMOUNTED = "remounted"
    """Most likely the same root after an unmount and a mount: type and inode are what they were."""
    REPLACED = "replaced"
    """Something else lies there now: a share is missing, or another was mounted."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    mount_point: str
    fstype: str
    source: str
    mount_id: int = field(default=-1, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class MountIdentity:
    """What makes the root of a drop folder recognisable.

    Attributes
    ----------
    device : int
        st_dev of the root; may differ after a remount of the same share.
    root_inode : int
    fstype : str
        As mountinfo names it; empty where it could not be told.
    mount_point : str
        Where that file system is mounted; empty where it could not be told.
    """

    device: int
    root_inode: int
    fstype: str
    mount_point: str = field(default="", compare=False)

    @property
    def is_remote(self) -> bool:
        """Tell whether another machine may write here without an event on this one."""
        return is_remote_type(self.fstype)

    def as_record(self) -> dict[str, Any]:
        """Return the identity as JSON values."""
        return {
            "device": self.device,
            "root_inode": self.root_inode,
            "fstype": self.fstype,
            "mount_point": self.mount_point,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "MountIdentity":
        """Rebuild an identity from `as_record`'s values."""
        return cls(
            int(record["device"]),
            int(record["root_inode"]),
            str(record["fstype"]),
            str(record.get("mount_point", "")),
        )


def is_remote_type(fstype: str) -> bool:
    """Tell whether a file system type is a network or FUSE one."""
    return fstype in REMOTE_TYPES or fstype.startswith("fuse.")


def parse_mountinfo(data: bytes) -> tuple[Mount, ...]:
    r"""Return the mounts of a mountinfo file, in its order: a later one hides an earlier one.

    Lines that do not have the documented shape are left out.

    Source
    ------
    proc_pid_mountinfo(5): fields 1-6, optional fields, a lone `-`, type, source, options. Space,
    tab, newline and backslash stand as `\040`-like octals.

    Examples
    --------
    >>> parse_mountinfo(b"36 35 0:7 / /mnt/my\\040share rw shared:1 - nfs4 nas:/x rw\n")
    (Mount(mount_point='/mnt/my share', fstype='nfs4', source='nas:/x'),)
    """
    found = []
    for line in data.split(b"\n"):
        head, separator, tail = line.partition(b" - ")
        fields, rest = head.split(b" "), tail.split(b" ")
        if not separator or len(fields) < 5 or len(rest) < 2 or not fields[0].isdigit():
            continue
        found.append(Mount(_plain(fields[4]), _plain(rest[0]), _plain(rest[1]), int(fields[0])))
    return tuple(found)


def read_mounts(mountinfo: Path = MOUNTINFO) -> tuple[Mount, ...]:
    """Return the mounts this process sees; none where /proc is hidden by a sandbox."""
    try:
        return parse_mountinfo(mountinfo.read_bytes())
    except OSError:
        return ()


def mount_of(path: str, mounts: tuple[Mount, ...]) -> Mount | None:
    """Return the mount a path lies on: the longest mount point above it, the latest of equals.

    Parameters
    ----------
    path : str
        Absolute, without symlinks.
    mounts : tuple of Mount
    """
    best: Mount | None = None
    for mount in mounts:
        point = mount.mount_point
        is_above = point == "/" or path == point or path.startswith(point + "/")
        if is_above and (best is None or len(point) >= len(best.mount_point)):
            best = mount
    return best


def locate_mount(path: Path, mounts: tuple[Mount, ...]) -> Mount | None:
    """Return the mount a path leads to, without touching any network mount: that may hang.

    Symlinks are resolved one by one, as long as they lie on local file systems.

    Parameters
    ----------
    path : Path
        Absolute.
    mounts : tuple of Mount

    Returns
    -------
    Mount or None
        The first network mount on the way, else the local one at the end; None if unknown.
    """
    left = deque(part for part in os.fspath(path).split("/") if part not in ("", "."))
    place, links = "/", 0
    while left:
        part = left.popleft()
        step = os.path.dirname(place) if part == ".." else os.path.join(place, part)  # noqa: PTH118, PTH120 - strings: a Path would fold `..`
        mount = mount_of(step, mounts)
        if mount is not None and is_remote_type(mount.fstype):
            return mount
        try:
            target = os.readlink(step)  # noqa: PTH115 - text: a Path would fold `..`
        except OSError:
            place = step  # no symlink, or not there
            continue
        links += 1
        if links > _MAX_LINKS:
            break
        place = "/" if target.startswith("/") else place
        left.extendleft(part for part in reversed(target.split("/")) if part not in ("", "."))
    return mount_of(place, mounts)


def probe_mount(path: Path, mountinfo: Path = MOUNTINFO) -> MountIdentity:
    """Return the identity of the file system root that `path` shows.

    Raises
    ------
    OSError
        The path is not there or does not answer; the caller takes the folder for unavailable.
    """
    facts = path.stat()
    mount = mount_of(os.path.realpath(path), read_mounts(mountinfo))
    return _identity(facts, mount)


def identify_root(root: int, folder: Path, mounts: tuple[Mount, ...]) -> MountIdentity:
    """Return the identity of an open drop folder.

    Parameters
    ----------
    root : int
        Its descriptor.
    folder : Path
        The path it was opened by.
    mounts : tuple of Mount
        Read after it was opened: opening may mount something (autofs).

    Raises
    ------
    OSError
        It does not answer.
    """
    number = _mount_id(root)
    mount = next((mount for mount in mounts if mount.mount_id == number), None)
    return _identity(os.fstat(root), mount or mount_of(_real_path(root, folder), mounts))


def list_mounts_below(root: int, folder: Path, mounts: tuple[Mount, ...]) -> frozenset[str]:
    """Return the relative paths at which other file systems are mounted inside a folder."""
    real = _real_path(root, folder).rstrip("/") + "/"
    return frozenset(
        mount.mount_point[len(real) :] for mount in mounts if mount.mount_point.startswith(real)
    )


def _identity(facts: os.stat_result, mount: Mount | None) -> MountIdentity:
    if mount is None:  # an unknown type counts as local
        return MountIdentity(facts.st_dev, facts.st_ino, "")
    return MountIdentity(facts.st_dev, facts.st_ino, mount.fstype, mount.mount_point)


def _real_path(root: int, folder: Path) -> str:
    """Return the path of an open folder without symlinks, by asking the kernel for it."""
    try:
        return str(Path(f"/proc/self/fd/{root}").readlink())
    except OSError:
        return os.path.realpath(folder)


def _mount_id(root: int) -> int | None:
    """Return the id of the mount a folder was opened on, None where /proc is hidden."""
    try:
        lines = Path(f"/proc/self/fdinfo/{root}").read_bytes().splitlines()
    except OSError:
        return None
    return next((int(line[7:]) for line in lines if line.startswith(b"mnt_id:")), None)


def compare_mounts(before: MountIdentity | None, now: MountIdentity) -> MountChange:
    """Compare the identity of a folder's root with the one seen before.

    A device number alone proves nothing: network file systems get a new one at each mount. The
    type and the root's inode stay. A bind mount has the device of what it shows: when it is gone,
    the mount point tells.
    """
    if before is None or before == now:
        return MountChange.SAME
    if before.device == now.device:
        points = {before.mount_point, now.mount_point}
        return MountChange.REPLACED if len(points - {""}) == 2 else MountChange.RECREATED
    if (before.fstype, before.root_inode) == (now.fstype, now.root_inode):
        return MountChange.REMOUNTED
    return MountChange.REPLACED


def _plain(field: bytes) -> str:
    plain = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field)
    return os.fsdecode(plain)
