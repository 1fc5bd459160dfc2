"""Sidecars in a scan: part of an acquisition, never one by themselves."""

from stackwatch.model.facts import Directives
from stackwatch.watch.scan import FolderScan, ScanOptions, scan_folder


def test_a_loose_sidecar_belongs_to_its_acquisition(tmp_path):
    """It is part of the stat mark of what it lies beside, and never an acquisition itself."""
    for name in ("img_1.tif", "img_2.tif", "a.ome.tif", "b.zip"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("img", "a", "b.zip", "c"):
        (tmp_path / f"{name}.stackwatch.toml").write_text(f'name = "{name} by hand"')

    scan = scan_folder(tmp_path, ScanOptions())
    assert isinstance(scan, FolderScan)
    seen = {one.key: (one.files, one.members) for one in scan.sightings}

    members = ("img_1.tif", "img_2.tif", "img.stackwatch.toml")
    assert {"a.ome.tif": (2, ()), "b.zip": (2, ()), "img_#.tif": (3, members)} == seen
    assert ["c.stackwatch.toml"] == [refusal.path for refusal in scan.refusals]


def test_what_belongs_to_one_file_alone_is_told(tmp_path):
    """A sidecar of two files is beside neither; of a group it is a member."""
    for name in ("a.tif", "b.tif", "b.czi", "v.raw", "v.json", "img_1.tif", "img_2.tif"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("a", "a.tif", "b", "b.czi", "img"):
        (tmp_path / f"{name}.stackwatch.toml").touch()

    for keys in (None, frozenset({"a.tif", "b.tif", "b.czi", "v.raw", "img_#.tif"})):
        scan = scan_folder(tmp_path, ScanOptions(), keys=keys)
        assert isinstance(scan, FolderScan)
        assert {
            "a.tif": ("a.stackwatch.toml", "a.tif.stackwatch.toml"),
            "b.tif": (),
            "b.czi": ("b.czi.stackwatch.toml",),
            "v.raw": ("v.json",),
            "img_#.tif": (),
        } == {one.key: one.beside for one in scan.sightings}


def test_a_text_beside_a_loose_raw_file_belongs_to_it(tmp_path):
    """It is part of the stat mark of the file or the group it describes; other texts are not."""
    for name in ("v.raw", "v.json", "s_1.raw", "s_1.info", "s_2.raw", "s_2.info", "a.tif", "a.xml"):
        (tmp_path / name).write_bytes(b"x")

    scan = scan_folder(tmp_path, ScanOptions())
    assert isinstance(scan, FolderScan)
    seen = {one.key: (one.files, one.members) for one in scan.sightings}

    assert {
        "v.raw": (2, ()),
        "s_#.raw": (4, ("s_1.raw", "s_2.raw", "s_1.info", "s_2.info")),
        "a.tif": (1, ()),
        "a.xml": (1, ()),
    } == seen


def test_a_look_by_name_takes_the_directives_of_the_sidecar(tmp_path):
    """Name, skip, priority and upload of a folder's and of a loose file's sidecar."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.tif").write_bytes(b"x")
    (tmp_path / "run" / "stackwatch.toml").write_text('name = "cortex"\nupload = false')
    (tmp_path / "b.tif").write_bytes(b"x")
    (tmp_path / "b.tif.stackwatch.toml").write_text("skip = true\npriority = 7")

    scan = scan_folder(tmp_path, ScanOptions(), keys=frozenset({"run", "b.tif"}))
    assert isinstance(scan, FolderScan)
    found = {one.key: one.directives for one in scan.sightings}

    assert {
        "run": Directives(name="cortex", upload=False),
        "b.tif": Directives(skip=True, priority=7),
    } == found
