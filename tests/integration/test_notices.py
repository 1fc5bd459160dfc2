"""People are told by a real daemon, whatever their receivers do to it."""

import json
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from stackwatch.cli.app import app
from stackwatch.errors import ExitCode
from stackwatch.ledger.reader import LedgerReader
from stackwatch.testing.receivers import WebhookServer, mail_server, mail_text, wait_for, webhook
from stackwatch.testing.service import ServiceBench, bench


@pytest.fixture
def service(tmp_path):
    """A service that is not started yet."""
    with bench(tmp_path) as made:
        yield made


def configure(service: ServiceBench, *receivers: WebhookServer, more: str = "") -> None:
    """Let these webhooks be told at once."""
    urls = json.dumps([receiver.url for receiver in receivers])
    service.write_config(daemon=f"[notices]\nwebhook = {urls}\ndigest_s = 0\n{more}")


def told(server: WebhookServer) -> list[tuple[str, bool]]:
    """Return what a receiver was told of, in order."""
    return [
        (one["kind"], one["is_recovery"])
        for document in server.taken
        for one in document["notices"]
    ]


def test_parked_is_told_and_that_it_was_converted_after_all(service):
    """The first comes at once with its reason; its end is told too, and nothing twice."""
    with webhook() as server:
        configure(service, server)
        service.start()
        service.drop_acquisition("run_041", {"missing": b"x"})
        wait_for(1, server.taken)
        (first,) = server.taken[0]["notices"]

        assert ("parked", "em/run_041") == (first["kind"], first["facts"]["name"])
        assert "missing_slices" == first["facts"]["error_code"]
        assert first["text"].startswith("parked: em/run_041 (job 1) – ")

        (service.drop / "run_041" / "slice").write_bytes(b"y")
        wait_for(2, server.taken)
        service.wait_until(lambda: len(service.events("notice.sent")) == 2)
        assert ExitCode.DONE == service.stop()

        assert [("parked", False), ("parked", True)] == told(server)
        assert "run_041" in service.datasets()
    assert "secret-word" not in (service.root / "log.jsonl").read_text()


def test_a_silent_receiver_holds_up_nothing(service):
    """C22: others are told, conversions go on, and so does a stop; then it is told too."""
    with webhook("silent") as silent, webhook() as well:
        configure(service, silent, well)
        service.start()
        service.drop_acquisition("run_041", {"missing": b"x"})
        wait_for(1, well.taken)
        service.drop_acquisition("run_042", {"a": b"x"})
        service.wait_until(lambda: "run_042" in service.datasets())
        began_s = time.monotonic()

        assert service.status() is not None
        assert ExitCode.DONE == service.stop()
        assert time.monotonic() - began_s < 10  # far below the receiver's deadline

        assert [] == silent.taken
        silent.mood = "well"
        service.start()
        wait_for(1, silent.taken)
        service.stop()

        assert [("parked", False)] == told(silent)


MORE = [pytest.param(mood, marks=pytest.mark.system) for mood in ("broken", "moved")]


@pytest.mark.parametrize("mood", ["reset", *MORE])
def test_what_failed_is_kept_with_its_reason(service, mood):
    """C22: it stays in the outbox, the log says once who failed, and names no address."""
    with webhook(mood) as server:
        configure(service, server)
        service.start()
        service.drop_acquisition("run_041", {"missing": b"x"})
        service.wait_until(lambda: bool(service.events("notice.failed")))
        with LedgerReader.open(service.state_dir) as reader:
            service.wait_until(lambda: reader.list_notices()[0].attempt == 1)
            (notice,) = reader.list_notices()
        service.stop()

    assert ("due", ()) == (str(notice.state), notice.reached)
    assert notice.not_before_us > notice.created_at_us
    assert f"webhook 127.0.0.1:{server.port}" in notice.error
    (listed,) = json.loads(run(service, "notices", "list", "--json").stdout)["notices"]
    assert notice.as_record() == listed
    assert "parked: em/run_041" in run(service, "notices", "list").stdout
    (failed,) = service.events("notice.failed")
    assert f"webhook 127.0.0.1:{server.port}" == failed["receiver"]
    assert "secret-word" not in (service.root / "log.jsonl").read_text()


@pytest.mark.system
def test_once_tells_before_it_ends(service):
    """`run --once` waits until what it found was told."""
    with webhook() as server:
        configure(service, server)
        service.drop_acquisition("run_041", {"missing": b"x"})
        command = [sys.executable, "-m", "stackwatch", "run", "--once", "--config"]
        done = subprocess.run([*command, str(service.config)], check=False, capture_output=True)

        assert ExitCode.PARKED == done.returncode, done.stderr
        assert [("parked", False)] == told(server)


@pytest.mark.system
def test_mail_for_the_same_trouble(service):
    """Webhook and mail are told of the same thing, each in its own way."""
    with webhook() as hook, mail_server() as mail:
        file = service.root / "notices.txt"
        file.write_text(
            f"mailto://127.0.0.1:{mail.port}/?to=lab@example.org&from=wk@example.org&mode=insecure\n"
        )
        configure(service, hook, more=f'apprise_file = "{file}"\n')
        service.start()
        service.drop_acquisition("run_041", {"missing": b"x"})
        wait_for(1, mail.mails)
        service.wait_until(lambda: bool(service.events("notice.sent")))
        service.stop()

    assert [("parked", False)] == told(hook)
    assert "parked: em/run_041 (job 1)" in mail_text(mail.mails[0])


def run(service: ServiceBench, *arguments: str):
    """Run a command on the service's settings."""
    return CliRunner().invoke(app, [*arguments, "--config", str(service.config)])


def test_receivers_can_be_tried(service):
    """`notices test` tells what each answered, and fails if one did not take it."""
    with webhook() as well, webhook("broken") as broken:
        configure(service, well, broken)
        done = run(service, "notices", "test", "--json")
        record = json.loads(done.stdout)

        assert ExitCode.FAILED == done.exit_code
        assert ["schema", "status", "receivers"] == list(record)
        assert {"200: taken": True, "500: refused": False} == {
            one["message"]: one["is_reached"] for one in record["receivers"]
        }
        assert "secret-word" not in done.output

        configure(service, well)
        done = run(service, "notices", "test")

        assert ExitCode.DONE == done.exit_code
        assert "200: taken" in done.stdout
    service.write_config()
    done = run(service, "notices", "test")
    assert ExitCode.USAGE == done.exit_code
    assert "names no receiver" in done.stderr


def test_addresses_are_masked_where_settings_are_shown(service):
    """`config show` hides the webhooks: their paths are passwords."""
    with webhook() as server:
        configure(service, server)

    assert "secret-word" not in run(service, "config", "show").output
