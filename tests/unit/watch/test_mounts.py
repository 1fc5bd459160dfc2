"""Mounts: which file system a path lies on, and whether it is still the same."""

import pytest

from stackwatch.watch.mounts import (
    Mount,
    MountChange,
    MountIdentity,
    compare_mounts,
    is_remote_type,
    mount_of,
    parse_mountinfo,
    probe_mount,
)

MOUNTINFO = b"""\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
36 27 0:40 / /mnt/scope rw shared:1 master:2 - nfs4 nas:/scope rw,vers=4.2
37 27 0:41 / /mnt/my\\040share rw - cifs //nas/my\\040share rw
38 27 0:42 / /mnt/scope/local rw - tmpfs tmpfs rw
39 27 0:43 / /mnt/old rw - ext4 /dev/sdb rw
40 27 0:44 / /mnt/old rw - fuse.sshfs lab: rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "fstype"),
    [
        ("/home/a", "ext4"),
        ("/", "ext4"),
        ("/mnt/scope", "nfs4"),
        ("/mnt/scope/run", "nfs4"),
        ("/mnt/scope2", "ext4"),
        ("/mnt/scope/local/x", "tmpfs"),
        ("/mnt/my share/run", "cifs"),
        ("/mnt/old/x", "fuse.sshfs"),
    ],
)
def test_mount_of_takes_the_nearest_and_latest(path, fstype):
    """The longest mount point above a path counts, and of equals the one mounted last."""
    mount = mount_of(path, parse_mountinfo(MOUNTINFO))

    assert mount is not None
    assert fstype == mount.fstype


def test_parse_mountinfo_undoes_octals():
    """A space in a mount point stands as an octal and comes back as a space."""
    assert Mount("/mnt/my share", "cifs", "//nas/my share") in parse_mountinfo(MOUNTINFO)


def test_parse_mountinfo_leaves_odd_lines_out():
    """A line of another shape is no mount."""
    assert len(parse_mountinfo(MOUNTINFO)) == 6


def test_mount_of_nothing():
    """Without any mount there is no answer."""
    assert mount_of("/x", ()) is None


@pytest.mark.parametrize(
    ("fstype", "is_remote"),
    [
        ("nfs", True), ("nfs4", True), ("cifs", True), ("smb3", True), ("9p", True),
        ("fuse", True), ("fuse.sshfs", True), ("fuse.rclone", True), ("fuseblk", False),
        ("ext4", False), ("xfs", False), ("tmpfs", False), ("btrfs", False), ("", False),
    ],
)  # fmt: skip
def test_is_remote_type(fstype, is_remote):
    """L5: network and FUSE file systems are remote; local disks, NTFS among them, are not."""
    assert is_remote == is_remote_type(fstype)


SEEN = MountIdentity(device=40, root_inode=2, fstype="nfs4")


@pytest.mark.parametrize(
    ("now", "change"),
    [
        (SEEN, MountChange.SAME),
        (MountIdentity(40, 99, "nfs4"), MountChange.RECREATED),
        (MountIdentity(41, 2, "nfs4"), MountChange.REMOUNTED),
        (MountIdentity(1, 500, "ext4"), MountChange.REPLACED),
        (MountIdentity(41, 3, "nfs4"), MountChange.REPLACED),
    ],
)
def test_compare_mounts(now, change):
    """A remount keeps type and root inode; a missing share shows another root."""
    assert change == compare_mounts(SEEN, now)


def test_compare_mounts_without_a_past():
    """What was never seen before is taken as it is."""
    assert MountChange.SAME == compare_mounts(None, SEEN)


def test_probe_mount_knows_type_and_root(tmp_path):
    """A real folder tells its device, inode and the type its mount has in mountinfo."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_bytes(MOUNTINFO)
    stat = tmp_path.stat()

    assert MountIdentity(stat.st_dev, stat.st_ino, "ext4") == probe_mount(tmp_path, mountinfo)


def test_probe_mount_without_mountinfo(tmp_path):
    """Where /proc is hidden the type is unknown and counts as local."""
    identity = probe_mount(tmp_path, tmp_path / "absent")

    assert (identity.fstype, identity.is_remote) == ("", False)


def test_probe_mount_of_an_absent_folder(tmp_path):
    """A folder that is not there raises, so that the caller takes it for unavailable."""
    with pytest.raises(FileNotFoundError):
        probe_mount(tmp_path / "absent")


def test_mount_identity_survives_json():
    """The ledger keeps an identity as JSON values and gives the same one back."""
    assert SEEN == MountIdentity.from_record(SEEN.as_record())
