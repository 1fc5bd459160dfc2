"""The token goes to the server it is for, in one header, and is shown nowhere."""

import io
import json
import os
import subprocess
import sys
import traceback
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

import stackwatch
from stackwatch.errors import DeliveryRefusedError, DeliveryUnauthorizedError, StackwatchError
from stackwatch.logs import configure_logs
from stackwatch.model.delivery import ServerOptions
from stackwatch.testing.webknossos_faults import Behaviour, Fault
from stackwatch.testing.webknossos_fronts import RedirectingFront, make_certificates
from stackwatch.testing.webknossos_server import WebknossosServer
from stackwatch.webknossos.patience import Patience, Waiting
from stackwatch.webknossos.token import Token, find_token

from .conftest import Courier, Notebook


def test_the_token_travels_in_its_header_alone(courier: Courier, server: WebknossosServer):
    """No address holds the token; the build info is asked for without it."""
    courier.bring()
    asked = server.requests()

    assert [] == [one.target for one in asked if server.token in one.target]
    assert {""} == {one.token for one in asked if one.route == "buildinfo"}
    assert {server.token} == {one.token for one in asked if one.route != "buildinfo"}


def test_it_stands_in_no_error_record_or_log(courier: Courier, server: WebknossosServer):
    """Not even where the server repeats it: errors, their traces, records and logs hold it not."""
    stream = io.StringIO()
    configure_logs(stream, "json", "debug")
    echoed = f"Bad request, token={server.token}"
    faults = [
        Fault("reserve", status=400, text=echoed),
        Fault("reserve", status=403, text=echoed, times=2),
        Fault("chunk", status=400, text=echoed),
        Fault("finish", status=400, text=echoed),
        Fault("update", status=400, text=echoed),
        Fault("user", status=401, text=echoed),
    ]
    told = []
    for fault in faults:
        server.faults.clear()
        server.faults.add(fault)
        notebook = Notebook()
        with pytest.raises(StackwatchError) as failed:
            courier.bring(notebook)
        told += [json.dumps(failed.value.as_record()), repr(failed.value), str(failed.value)]
        told += traceback.format_exception(failed.value)
        told += [repr(notebook.records), repr(notebook.shown)]
        structlog.get_logger().error("delivery.failed", exc_info=failed.value)
    told.append(stream.getvalue())

    assert len(told) > 6 * len(faults)
    assert [] == [text for text in told if server.token in text]
    assert "token=…" in told[1]


def test_it_has_no_picture():
    """`repr`, formatting and pickling show or give nothing."""
    token = Token("abc-secret", "“/etc/token”")

    assert "Token(from “/etc/token”)" == repr(token) == str(token) == f"{token}"
    with pytest.raises(TypeError):
        token.__reduce__()
    assert not hasattr(token, "__dict__")


def test_a_redirect_to_another_host_is_not_followed(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """A front that sends away hears of no token, the other host of nothing; people hear where."""
    for status in (301, 302, 307, 308):
        with RedirectingFront(server.url, status) as front:
            request = replace(courier.request, server=ServerOptions(front.url))
            before = len(server.requests())
            with pytest.raises(DeliveryRefusedError, match="sends us on to") as refused:
                courier.bring(server=request.server)

            assert server.url in refused.value.hint
            assert [""] == front.tokens
            assert before == len(server.requests())


def test_a_datastore_that_redirects_gets_no_further(
    courier: Courier, server: WebknossosServer, tmp_path: Path
):
    """Where the datastore's chunks are sent on, the next host sees neither token nor data."""
    with (
        WebknossosServer(tmp_path / "other") as other,
        RedirectingFront(other.datastore_url) as front,
    ):
        store = replace(courier.request.server, datastore=front.url)
        with pytest.raises(DeliveryRefusedError, match="sends us on to"):
            courier.bring(server=store)

        assert [] == other.requests()


def test_certificates_are_checked(tmp_path: Path, dataset: Path):
    """An unknown authority is refused before the token is sent; with `ca_file` it is trusted."""
    certificates = make_certificates(tmp_path / "tls")
    with WebknossosServer(tmp_path / "wk", Behaviour(), certificates.context) as server:
        state = tmp_path / "state"
        with pytest.raises(DeliveryRefusedError, match="not trusted") as refused:
            stackwatch.upload(dataset, url=server.url, token=server.token, state_dir=state)
        assert [] == server.requests()
        assert "ca_file" in refused.value.hint
        delivered = stackwatch.upload(
            dataset,
            url=server.url,
            token=server.token,
            ca_file=certificates.ca_file,
            state_dir=state,
        )

        assert [delivered.remote_id] == [found.id for found in server.datasets()]
        with pytest.raises(DeliveryRefusedError, match="cannot be read as certificates"):
            stackwatch.upload(
                dataset,
                url=server.url,
                token=server.token,
                ca_file=dataset / "stackwatch.json",
                state_dir=state,
            )


def test_a_token_file_that_everybody_reads_is_refused(tmp_path: Path):
    """The hint is a command that mends it; with the right mode the file is taken."""
    path = tmp_path / "my token"
    path.write_text("abc-123\n")
    path.chmod(0o644)
    with pytest.raises(DeliveryUnauthorizedError, match="mode 644") as refused:
        find_token(str(path))
    path.chmod(0o640)

    assert f"chmod 600 '{path}'" == refused.value.hint
    assert "abc-123" not in str(refused.value.as_record())
    assert {"X-Auth-Token": "abc-123"} == find_token(str(path)).header()


def test_places_of_the_token_have_an_order(tmp_path: Path):
    """File, then systemd credential, then environment; without any the error names them."""
    (tmp_path / "webknossos-token").write_text("from-systemd")
    (tmp_path / "webknossos-token").chmod(0o400)
    (tmp_path / "file").write_text("from-file")
    (tmp_path / "file").chmod(0o600)
    environ = {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "STACKWATCH_WEBKNOSSOS_TOKEN": "from-environment",
    }

    def found(token_file: str, known: dict[str, str]) -> str:
        return find_token(token_file, known).header()["X-Auth-Token"]

    assert "from-file" == found(str(tmp_path / "file"), environ)
    assert "from-systemd" == found("", environ)
    environ["CREDENTIALS_DIRECTORY"] = "/nowhere"
    assert "from-environment" == found("", environ)
    with pytest.raises(DeliveryUnauthorizedError, match="token_file"):
        find_token("", {})


@pytest.mark.parametrize("text", ["", "two words", "tok\u00e9n", "x" * 5000, "a\nb"])
def test_what_is_no_token_is_not_shown(text: str):
    """Rubbish in the token's place is refused without being repeated."""
    with pytest.raises(DeliveryUnauthorizedError) as refused:
        Token(text, "the file")

    assert not text or text not in refused.value.message


def test_no_process_title_or_child_holds_it(
    server: WebknossosServer, dataset: Path, tmp_path: Path
):
    """`stackwatch upload` takes the token from the environment; nothing it prints shows it."""
    environ = {
        **os.environ,
        "STACKWATCH_WEBKNOSSOS_TOKEN": server.token,
        "XDG_STATE_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-m", "stackwatch", "upload", dataset, "--url", server.url, "--json"],
        env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert 0 == done.returncode, done.stderr
    assert server.token not in done.stdout + done.stderr
    assert json.loads(done.stdout)["link"].startswith(server.url)


def test_an_unencrypted_datastore_of_an_encrypted_server_is_refused():
    """The token is not sent in the clear because a list says so."""
    from stackwatch.webknossos.greeting import Datastore, choose_datastore

    stores = (Datastore("far", "http://data.example.org"),)
    with pytest.raises(DeliveryRefusedError, match="without encryption"):
        choose_datastore(stores, "", "https://wk.example.org")
    assert stores[0] == choose_datastore(stores, "", "http://wk.example.org")


def test_a_check_of_a_server_that_is_away_ends_at_once():
    """With no patience the first failure is the answer."""
    from stackwatch.pipeline.server_check import check_server

    waiting = Waiting(patience=Patience(give_up_s=0.0))
    found = check_server(ServerOptions("http://127.0.0.1:9"), [], waiting, Token("x"))

    assert found.error is not None
    assert ("delivery_unavailable", []) == (found.error.code, found.lines)
