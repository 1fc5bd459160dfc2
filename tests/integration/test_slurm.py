"""A conversion whose workers Slurm starts, on two virtual nodes of this machine."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer

PROGRAMS = ("slurmctld", "slurmd", "munged", "unshare", "setpriv", "ip")
MISSING = [
    name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None
]
NODES = Path(__file__).with_name("slurm_nodes.sh")

CONVERT = """
import json, subprocess, sys
from dataclasses import replace
from pathlib import Path
from stackwatch.model.flags import ConvertFlags
from stackwatch.model.options import ClusterOptions, ResourceOptions
from stackwatch.pipeline.convert import convert_acquisition
from stackwatch.pipeline.journal import SilentJournal
from stackwatch.pipeline.request import ConvertRequest

class Journal(SilentJournal):
    ranges = 0
    def progress(self, progress):
        if self.ranges < 2 <= progress.ranges_done:  # what the end of a wall time does to all
            subprocess.run(["scancel", "--user", "root"], check=True)
        self.ranges = max(self.ranges, progress.ranges_done)

source, folder = map(Path, sys.argv[1:])
options = ConvertFlags(voxel_size_nm=(11, 11, 25), name="run", threads=1, memory_gib=1).options()
cluster = ClusterOptions(kind="slurm", workers=2, threads=1, memory_gib=1.0, partition="short",
                         wall_time="00:10:00")
there = replace(options, resources=ResourceOptions(executor="dask", cluster=cluster))
local, ranged = Journal(), Journal()
convert_acquisition(ConvertRequest(source, folder / "local" / "run", options), local)
convert_acquisition(ConvertRequest(source, folder / "slurm" / "run", there), ranged)
print(json.dumps({"local": local.ranges, "slurm": ranged.ranges}))
"""


@pytest.mark.system
@pytest.mark.timeout(300)
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of their own need root")
def test_slurm_converts_a_stack(tmp_path: Path):
    """Workers on two nodes write the same bytes as one process, and are gone afterwards.

    When all of them are lost in the middle, others are asked for.
    """
    pytest.importorskip("dask_jobqueue")
    layer = SyntheticLayer(shape_zyx=(300, 200, 180), content="em")
    SyntheticAcquisition((layer,)).write(tmp_path / "source")
    (tmp_path / "slurm-state").mkdir()
    command = [
        "unshare", "-m", "-p", "-f", "-n", "-u", "-i", "--mount-proc", "--kill-child",
        "--propagation", "private", str(NODES), str(tmp_path / "slurm-state"),
        "sh", "-c", '"$@"; code=$?; squeue -h -o %T >&2; exit $code', "sh",
        sys.executable, "-c", CONVERT, str(tmp_path / "source"), str(tmp_path),
    ]  # fmt: skip
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    files = {
        name: {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.is_file() and path.name != "stackwatch.json"
        }
        for name in ("local", "slurm")
    }

    assert 0 == counts["local"]
    assert 4 < counts["slurm"]
    assert files["local"] == files["slurm"]
    assert "RUNNING" not in done.stderr
