"""Tell what kind of file system a path lies on, and whether it is still the same one."""

import os
import re
from dataclasses import dataclass
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

_OCTAL = re.compile(rb"\\([0-7]{3})")


class MountChange(StrEnum):
    """How the root of a drop folder compares with the one seen before."""

    SAME = "same"
    RECREATED = "recreated"
    """Another folder on the same mount: somebody removed and made it again."""
    REMOUNTED = "remounted"
    """The same root after an unmount and a mount."""
    REPLACED = "replaced"
    """Something else lies there now: a share is missing, or another was mounted."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo."""

    mount_point: str
    fstype: str
    source: str


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
    """

    device: int
    root_inode: int
    fstype: str

    @property
    def is_remote(self) -> bool:
        """Tell whether another machine may write here without an event on this one."""
        return is_remote_type(self.fstype)

    def as_record(self) -> dict[str, Any]:
        """Return the identity as JSON values."""
        return {"device": self.device, "root_inode": self.root_inode, "fstype": self.fstype}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "MountIdentity":
        """Rebuild an identity from `as_record`'s values."""
        return cls(int(record["device"]), int(record["root_inode"]), str(record["fstype"]))


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
        if not separator or len(fields) < 5 or len(rest) < 2:
            continue
        found.append(Mount(_plain(fields[4]), _plain(rest[0]), _plain(rest[1])))
    return tuple(found)


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


def probe_mount(path: Path, mountinfo: Path = MOUNTINFO) -> MountIdentity:
    """Return the identity of the file system root that `path` shows.

    Raises
    ------
    OSError
        The path is not there or does not answer; the caller takes the folder for unavailable.
    """
    facts = path.stat()
    try:
        mounts = parse_mountinfo(mountinfo.read_bytes())
    except OSError:
        mounts = ()  # /proc may be hidden by a sandbox; an unknown type counts as local
    mount = mount_of(os.path.realpath(path), mounts)
    return MountIdentity(facts.st_dev, facts.st_ino, mount.fstype if mount else "")


def compare_mounts(before: MountIdentity | None, now: MountIdentity) -> MountChange:
    """Compare the identity of a folder's root with the one seen before.

    A device number alone proves nothing: network file systems get a new one at each mount. The
    type and the root's inode stay.
    """
    if before is None or before == now:
        return MountChange.SAME
    if before.device == now.device:
        return MountChange.RECREATED
    if (before.fstype, before.root_inode) == (now.fstype, now.root_inode):
        return MountChange.REMOUNTED
    return MountChange.REPLACED


def _plain(field: bytes) -> str:
    plain = _OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field)
    return os.fsdecode(plain)
