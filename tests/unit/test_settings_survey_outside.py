"""What a check of the settings tells about clusters and buckets."""

import socket
from pathlib import Path

import pytest

from stackwatch.settings import FolderSettings, Settings, find_warnings
from stackwatch.settings.model import DaemonSettings
from stackwatch.settings.outside import ClusterSettings
from stackwatch.settings.survey_outside import outside_warnings


def settings(tmp_path: Path, bucket: str | None = None, **cluster: object) -> Settings:
    """Return settings with one folder."""
    executor = "dask" if cluster else "local"
    folder = FolderSettings(name="em", path=tmp_path, target=tmp_path / "out", bucket=bucket)
    return Settings(
        daemon=DaemonSettings(executor=executor),  # type: ignore[arg-type]
        cluster=ClusterSettings(**cluster),  # type: ignore[arg-type]
        folder=(folder,),
    )


def test_a_scheduler_that_is_not_there_is_told(tmp_path: Path):
    """One that listens is fine; where nobody does, its address is named."""
    pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        assert [] == list(outside_warnings(settings(tmp_path, scheduler=address)))
    (told,) = outside_warnings(settings(tmp_path, scheduler=address))

    assert f"cluster.scheduler “{address}” does not answer" in told


def test_slurm_without_its_commands_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody could hand in a job."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "sbatch" in "".join(outside_warnings(settings(tmp_path, kind="slurm")))


def test_a_library_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What to install stands there."""
    monkeypatch.setattr("stackwatch.settings.survey_outside.find_spec", lambda name: None)
    (told,) = outside_warnings(settings(tmp_path, scheduler="tcp://127.0.0.1:1"))

    assert 'pip install "stackwatch[dask]"' in told


def test_a_bucket_that_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Within seconds, though a conversion would try for minutes."""
    pytest.importorskip("obstore")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        told = find_warnings(settings(tmp_path, bucket="s3://lab-data/em"))

    assert 1 == len([line for line in told if line.startswith("target “s3://lab-data/em”: ")])


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("scheduler", "head:8786", "tcp://HOST:8786"), ("wall_time", "4h", "HOURS:MINUTES:SECONDS")],
)
def test_what_a_cluster_cannot_mean_is_refused(name: str, value: str, words: str):
    """The sentence shows how it is written."""
    with pytest.raises(ValueError, match=words):
        ClusterSettings(**{name: value})  # type: ignore[arg-type]
