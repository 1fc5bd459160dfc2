"""Mounts: which file system a path lies on, and whether it is still the same."""

import os

import pytest

from stackwatch.watch.mounts import (
    Mount,
    MountChange,
    MountIdentity,
    compare_mounts,
    identify_root,
    is_remote_type,
    list_mounts_below,
    locate_mount,
    mount_of,
    parse_mountinfo,
    probe_mount,
    read_mounts,
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


@pytest.fixture
def table(tmp_path):
    """Return mounts of which one, below the test's own folder, is a network mount."""
    text = f"1 0 0:1 / / rw - ext4 disk rw\n2 1 0:2 / {tmp_path}/share rw - nfs4 nas:/x rw\n"
    return parse_mountinfo(text.encode())


@pytest.mark.parametrize(
    ("path", "fstype"),
    [
        ("local/deep", "ext4"),
        ("share", "nfs4"),
        ("share/../local", "nfs4"),
        ("link/a/b", "nfs4"),
        ("relative", "nfs4"),
        ("chain", "nfs4"),
        ("loop", "ext4"),
        ("absent/x", "ext4"),
    ],
)
def test_locate_mount_follows_links_as_far_as_they_are_local(tmp_path, table, path, fstype):
    """C9: a symlink is resolved up to the first network mount, which is not touched."""
    (tmp_path / "local").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "share/inside")
    (tmp_path / "relative").symlink_to("local/../share")
    (tmp_path / "chain").symlink_to(tmp_path / "link")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    mount = locate_mount(tmp_path / path, table)

    assert mount is not None
    assert fstype == mount.fstype


def test_identify_root_is_that_of_the_open_folder(tmp_path):
    """The identity belongs to what was opened, whatever lies at the path since."""
    (tmp_path / "drop").mkdir()
    root = os.open(tmp_path / "drop", os.O_RDONLY)
    try:
        (tmp_path / "drop").rename(tmp_path / "old")
        (tmp_path / "drop").mkdir()
        found = identify_root(root, tmp_path / "drop", read_mounts())
    finally:
        os.close(root)

    assert (tmp_path / "old").stat().st_ino == found.root_inode
    assert probe_mount(tmp_path / "old") == found


def test_list_mounts_below_gives_relative_paths(tmp_path, table):
    """Mount points inside a folder are named as the walk meets them."""
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        assert frozenset({"share"}) == list_mounts_below(root, tmp_path, table)
    finally:
        os.close(root)


def test_read_mounts_where_proc_is_hidden(tmp_path):
    """Without a table of mounts nothing is known, and nothing fails."""
    assert () == read_mounts(tmp_path / "absent")


def test_the_mount_point_survives_the_record():
    """A record of an older ledger has no mount point, and compares as before."""
    identity = MountIdentity(1, 2, "nfs4", "/mnt")

    assert "/mnt" == MountIdentity.from_record(identity.as_record()).mount_point
    old = {"device": 1, "root_inode": 2, "fstype": "nfs4"}
    assert identity == MountIdentity.from_record(old)
