"""The scan: real folders become sightings."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from stackwatch.model.facts import AcquisitionKind, Sighting
from stackwatch.watch.marks import mark_files
from stackwatch.watch.mounts import MountChange, MountIdentity, probe_mount
from stackwatch.watch.scan import FolderScan, FolderUnavailable, ScanOptions, scan_folder
from stackwatch.watch.walk import MAX_REFUSALS


def write(root: Path, *names: str) -> None:
    """Write small files below a folder, and the folders they need."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.fsencode(name))


def scanned(root: Path, options: ScanOptions | None = None, **more) -> FolderScan:
    """Scan a folder that is available."""
    scan = scan_folder(root, options or ScanOptions(), **more)
    assert isinstance(scan, FolderScan)
    return scan


def by_key(root: Path, options: ScanOptions | None = None, **more) -> dict[str, Sighting]:
    """Return a scan's sightings by key."""
    return {sighting.key: sighting for sighting in scanned(root, options, **more).sightings}


def test_scan_folder_divides_into_acquisitions(tmp_path):
    """Folders, a group of loose files and a single loose file are one acquisition each."""
    write(tmp_path, "run/color/1.tif", "run/2.tif", "img_1.tif", "img_2.tif", "stack.ome.tif")

    found = by_key(tmp_path)

    assert {
        "run": ("run", AcquisitionKind.FOLDER, "run", (), 2),
        "img_#.tif": ("img", AcquisitionKind.GROUP, "", ("img_1.tif", "img_2.tif"), 2),
        "stack.ome.tif": ("stack", AcquisitionKind.FILE, "stack.ome.tif", (), 1),
    } == {
        key: (seen.name, seen.kind, seen.source, seen.members, seen.files)
        for key, seen in found.items()
    }


def test_scan_folder_each_loose_file_by_itself(tmp_path):
    """With loose = "each" numbered files are not grouped."""
    write(tmp_path, "img_1.tif", "img_2.tif")

    assert ["img_1.tif", "img_2.tif"] == [*by_key(tmp_path, ScanOptions(loose="each"))]


def test_scan_folder_at_depth_two(tmp_path):
    """At depth 2 the folders of each user are acquisitions, and files beside them are loose."""
    write(tmp_path, "ann/run1/1.tif", "ann/run2/a/b/1.tif", "ann/s1.tif", "ann/s2.tif", "x.tif")

    found = by_key(tmp_path, ScanOptions(acquisition_depth=2))

    assert {"ann/run1", "ann/run2", "ann/s#.tif", "x.tif"} == set(found)
    assert ("ann/s", "ann", ("s1.tif", "s2.tif")) == (
        found["ann/s#.tif"].name,
        found["ann/s#.tif"].source,
        found["ann/s#.tif"].members,
    )


def test_scan_folder_mark_is_that_of_its_files(tmp_path):
    """The stat mark is the digest over exactly the files of the acquisition."""
    write(tmp_path, "run/b.tif", "run/a/c.tif")
    facts = []
    for name in ("a/c.tif", "b.tif"):
        stat = (tmp_path / "run" / name).stat()
        facts.append((name.encode(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))

    assert mark_files(facts, is_remote=False).stat_mark == by_key(tmp_path)["run"].stat_mark


def test_scan_folder_sees_an_atomic_replacement(tmp_path):
    """D13: a file replaced by one of equal size and mtime has another mark, but not size mark."""
    write(tmp_path, "run/a.tif")
    before = by_key(tmp_path)["run"]
    stat = (tmp_path / "run/a.tif").stat()
    write(tmp_path, "run/.new")
    (tmp_path / "run/.new").write_bytes(b"x" * stat.st_size)
    os.utime(tmp_path / "run/.new", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "run/.new").rename(tmp_path / "run/a.tif")
    after = by_key(tmp_path)["run"]

    assert before.stat_mark != after.stat_mark
    assert before.size_mark == after.size_mark


def test_scan_folder_ignores_junk_and_patterns(tmp_path):
    """Junk, temporary names and ignored patterns count nowhere, as folders or as files."""
    write(
        tmp_path,
        "run/a.tif",
        "run/.DS_Store",
        "run/b.tif.part",
        "run/previews/x.jpg",
        ".Trash-1000/x.tif",
        "old/x.tif",
        "._a.tif",
    )

    found = by_key(tmp_path, ScanOptions(ignore=("previews/", "old")))

    assert {"run": 1} == {key: seen.files for key, seen in found.items()}


def test_scan_folder_empty_acquisition(tmp_path):
    """A folder without files is seen with none: it is there, but it never settles."""
    write(tmp_path, "only_junk/.DS_Store")
    (tmp_path / "empty").mkdir()

    assert {"empty": 0, "only_junk": 0} == {
        key: seen.files for key, seen in by_key(tmp_path).items()
    }


def test_scan_folder_never_follows_or_opens(tmp_path):
    """Symlinks, loops and pipes are refused with a reason, whatever they point at."""
    outside = tmp_path / "outside"
    write(outside, "secret.tif")
    root = tmp_path / "root"
    write(root, "run/a.tif")
    (root / "run/loop").symlink_to(root)
    (root / "run/out.tif").symlink_to(outside / "secret.tif")
    (root / "linked").symlink_to(outside)
    os.mkfifo(root / "run/pipe.tif")

    scan = scanned(root)

    assert {"run": 1} == {sighting.key: sighting.files for sighting in scan.sightings}
    assert ["linked", "run/loop", "run/out.tif", "run/pipe.tif"] == sorted(
        refusal.path for refusal in scan.refusals
    )
    assert scan.refused == 4


def test_scan_folder_bounds_its_refusals(tmp_path):
    """A folder full of symlinks is counted whole and listed in part."""
    (tmp_path / "run").mkdir()
    for number in range(MAX_REFUSALS + 5):
        (tmp_path / "run" / f"l{number}").symlink_to(tmp_path)

    scan = scanned(tmp_path)

    assert (MAX_REFUSALS, MAX_REFUSALS + 5) == (len(scan.refusals), scan.refused)


def test_scan_folder_keeps_undecodable_names(tmp_path):
    """A name that is no UTF-8 is seen, marked, and given back byte for byte."""
    write(tmp_path, os.fsdecode(b"bad\xff/a.tif"))
    (tmp_path / os.fsdecode(b"bad\xff/a.tif")).rename(tmp_path / os.fsdecode(b"bad\xff/\xfe.tif"))

    (sighting,) = scanned(tmp_path).sightings

    assert (b"bad\xff", 1) == (os.fsencode(sighting.key), sighting.files)
    assert "bad\\xff" == sighting.as_record()["acquisition"]


def test_scan_folder_keeps_unicode_twins_apart(tmp_path):
    """Composed and decomposed forms of one name are two acquisitions, as they are two folders."""
    write(tmp_path, "caf\u00e9/a.tif", "cafe\u0301/a.tif")

    assert {"caf\u00e9", "cafe\u0301"} == set(by_key(tmp_path))


def test_scan_folder_of_a_literal_group_name(tmp_path):
    """A file that is called what a group is called is refused, not mixed up with it."""
    write(tmp_path, "img_#.tif", "img_1.tif", "img_2.tif")

    scan = scanned(tmp_path)

    assert ["img_#.tif"] == [sighting.key for sighting in scan.sightings]
    assert ["img_#.tif"] == [refusal.path for refusal in scan.refusals]


def test_scan_folder_of_chosen_keys(tmp_path):
    """A scan of a few acquisitions says the same of them as a scan of everything, but probes."""
    write(tmp_path, "run1/a.tif", "run2/a.tif", "img_1.tif", "img_2.tif")
    everything = by_key(tmp_path)
    wanted = frozenset({"run2", "img_#.tif", "absent"})

    scan = scanned(tmp_path, keys=wanted)

    assert wanted == scan.keys
    assert {key: replace(everything[key], is_probed=True) for key in ("img_#.tif", "run2")} == {
        sighting.key: sighting for sighting in scan.sightings
    }
    assert not any(sighting.is_probed for sighting in everything.values())


def test_scan_folder_absent(tmp_path):
    """A drop folder that is not there is unavailable, with the path in the reason."""
    scan = scan_folder(tmp_path / "absent", ScanOptions())

    assert isinstance(scan, FolderUnavailable)
    assert "absent" in scan.reason


def test_scan_folder_that_is_a_file(tmp_path):
    """A drop folder that is a file is unavailable."""
    write(tmp_path, "file")

    assert isinstance(scan_folder(tmp_path / "file", ScanOptions()), FolderUnavailable)


OTHER = MountIdentity(device=1, root_inode=1, fstype="nfs4")


@pytest.mark.parametrize("keys", [None, frozenset({"run"})])
def test_scan_folder_empty_on_another_mount_is_unavailable(tmp_path, keys):
    """An empty folder where a share used to be means the share is missing: nothing is deleted."""
    scan = scan_folder(tmp_path, ScanOptions(), expected=OTHER, keys=keys)

    assert isinstance(scan, FolderUnavailable)
    assert "not mounted" in scan.reason


def test_scan_folder_filled_on_another_mount_is_taken(tmp_path):
    """A folder with content on another mount was moved there by a person."""
    write(tmp_path, "run/a.tif")

    assert MountChange.REPLACED == scanned(tmp_path, expected=OTHER).mount_change


def test_scan_folder_made_anew_may_be_empty(tmp_path):
    """A drop folder removed and made again on the same mount is empty in truth."""
    expected = replace(probe_mount(tmp_path), root_inode=1)

    scan = scanned(tmp_path, expected=expected)

    assert (MountChange.RECREATED, ()) == (scan.mount_change, scan.sightings)


def test_scan_folder_unreadable_inside():
    """An unreadable folder is counted in its acquisition; above the acquisitions it hides them."""
    with TemporaryDirectory() as folder:  # pytest closes its own to other users
        root = Path(folder)
        root.chmod(0o755)
        write(root, "run/a.tif", "run/closed/b.tif", "ann/r/a.tif")
        (root / "run/closed").chmod(0)
        (root / "ann").chmod(0)
        try:
            scan = _scan_unprivileged(root, 2)
            flat = _scan_unprivileged(root, 1)
        finally:
            (root / "run/closed").chmod(0o755)
            (root / "ann").chmod(0o755)

    assert ("ann",) == scan.hidden
    assert {"ann": (0, 1), "run": (1, 1)} == {
        sighting.key: (sighting.files, sighting.unreadable) for sighting in flat.sightings
    }


_SCAN_AS_NOBODY = """
import os, pickle, sys
from pathlib import Path
from stackwatch.watch.scan import ScanOptions, scan_folder
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
scan = scan_folder(Path(sys.argv[1]), ScanOptions(acquisition_depth=int(sys.argv[2])))
sys.stdout.buffer.write(pickle.dumps(scan))
"""


def _scan_unprivileged(root: Path, depth: int) -> FolderScan:
    command = [sys.executable, "-c", _SCAN_AS_NOBODY, str(root), str(depth)]
    done = subprocess.run(command, capture_output=True, check=True)
    scan = pickle.loads(done.stdout)
    assert isinstance(scan, FolderScan)
    return scan


def test_scan_module_imports_nothing_heavy():
    """The scan process starts quickly: no numpy, no watchdog, no pydantic, no structlog."""
    code = (
        "import sys, stackwatch.watch.scan;"
        "print({'numpy', 'watchdog', 'pydantic', 'structlog'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert done.stdout.strip() == "set()"
