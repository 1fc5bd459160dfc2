"""`stackwatch preview`: the picture of a dataset by hand."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.errors import ExitCode
from stackwatch.model.flags import ConvertFlags
from stackwatch.pipeline.convert import ConvertRequest, convert_acquisition
from stackwatch.pipeline.journal import SilentJournal
from stackwatch.testing.writers import write_multipage


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A dataset of two slices."""
    root = tmp_path_factory.mktemp("preview")
    source = write_multipage(root / "stack.tif", np.full((2, 20, 30), 9, np.uint8))
    options = ConvertFlags(voxel_size_nm=(1, 1, 1), threads=1).options()
    convert_acquisition(ConvertRequest(source, root / "data", options), SilentJournal())
    return root / "data"


def test_the_picture_is_written(dataset, tmp_path):
    """A PNG appears where it was asked for, and the answer tells its size."""
    picture = tmp_path / "run.png"
    done = CliRunner().invoke(app, ["preview", str(dataset), str(picture), "--json"])

    document = json.loads(done.stdout)
    assert ExitCode.DONE == done.exit_code
    assert {
        "schema": 1, "status": "ok", "path": str(picture), "bytes": picture.stat().st_size,
    } == document  # fmt: skip
    with Image.open(picture) as shown:
        assert "PNG" == shown.format


def test_what_is_no_dataset(tmp_path):
    """The error says so, and no file appears."""
    done = CliRunner().invoke(app, ["preview", str(tmp_path), str(tmp_path / "run.png")])

    assert ExitCode.USAGE == done.exit_code
    assert "no dataset" in done.stderr
    assert [] == list(tmp_path.iterdir())
