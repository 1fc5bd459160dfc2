"""Deliveries without sending: registered where a dataset lies, or put into the server's storage."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stackwatch import convert
from stackwatch.errors import DeliveryRefusedError, DeliveryUnavailableError
from stackwatch.model.delivery import (
    Delivered,
    DeliveryProgress,
    DeliveryRequest,
    PathRule,
    ServerOptions,
    Transfer,
    UploadRecord,
)
from stackwatch.pipeline.deliver import deliver
from stackwatch.testing.synthetic import SyntheticLayer, write_sequence
from stackwatch.testing.webknossos_faults import Behaviour, Fault
from stackwatch.testing.webknossos_http import Request, Response
from stackwatch.testing.webknossos_routing import Route
from stackwatch.testing.webknossos_server import WebknossosServer
from stackwatch.webknossos import paths, register
from stackwatch.webknossos.patience import Patience, Waiting
from stackwatch.webknossos.token import Token

QUICK = Patience(first_delay_s=0.01, cap_s=0.02, give_up_s=0.3, poll_s=0.05, settle_s=0.0)
STEPS = {
    "register": ("planned", "finishing", "finish_answered", "finished"),
    "paths": (
        "planned", "reserved", "id_recorded", "chunk_sent", "chunks_sent", "finishing",
        "finish_answered", "finished",
    ),
}  # fmt: skip


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Journal:
    """Keeps what a new process would be given."""

    last: UploadRecord | None = None
    stages: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def progress(self, progress: DeliveryProgress) -> None:
        """Take the progress."""

    def record(self, record: UploadRecord) -> None:
        """Take the record."""
        self.last = record
        self.stages.append(record.stage)


@dataclass
class Bench:
    """A server, a dataset in a folder that it may read, and what was recorded."""

    server: WebknossosServer
    dataset: Path
    request: DeliveryRequest
    journal: Journal = field(default_factory=Journal)

    def deliver(self, patience: Patience = QUICK, **changed: Any) -> Delivered:
        """Deliver as a new process does, with the last record."""
        request = replace(self.request, record=self.journal.last, **changed)
        waiting = Waiting(self.journal.cancelled, patience)
        return deliver(request, self.journal, token=Token(self.server.token), waiting=waiting)

    def check(self, delivered: Delivered) -> None:
        """Check that there is one dataset, usable, told once, and where it belongs."""
        assert [delivered.remote_id] == [found.id for found in self.server.datasets()]
        found = self.server.datasets()[0]
        assert found.is_active
        assert "em" == self.server.world.folders[found.folder_id].name
        facts = {entry["key"]: entry["value"] for entry in found.metadata}
        assert (
            json.loads((self.dataset / "stackwatch.json").read_text())["run_id"]
            == (facts["stackwatch_run_id"])
        )
        assert [] == self.server.mishaps


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small dataset of two mags."""
    folder = tmp_path_factory.mktemp("published")
    layer = SyntheticLayer(shape_zyx=(9, 70, 80), content="em")
    write_sequence(folder / "stack", layer.iter_slices(), layer.pattern)
    convert(folder / "stack", folder / "run 1", voxel_size_nm=(10, 10, 20))
    return folder / "run 1"


@pytest.fixture
def bench(tmp_path: Path, published: Path) -> Iterator[Bench]:
    """Yield a server that may read below `share`, where a copy of the dataset lies."""
    dataset = tmp_path / "share" / "run 1"
    shutil.copytree(published, dataset)
    behaviour = Behaviour(local_whitelist=(str(tmp_path / "share"),))
    with WebknossosServer(tmp_path / "wk", behaviour) as server:
        request = DeliveryRequest(
            kind="register",
            dataset=dataset,
            run_id="",
            server=ServerOptions(url=server.url),
            remote_folder="Datasets/em",
            path_rules=(PathRule(str(tmp_path / "share"), f"file://{tmp_path}/share"),),
        )
        yield Bench(server, dataset, request)


def place_of(bench: Bench) -> Path:
    """Return where the server keeps the dataset."""
    found = bench.server.datasets()[0]
    return bench.server.world.root / "paths/lab" / found.directory


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file below the mags."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for mag in sorted(folder.glob("*/*"))
        for path in sorted(mag.rglob("*"))
        if path.is_file()
    }


# ---------------------------------------------------------------- register


def test_register_is_explored_where_it_lies(bench: Bench) -> None:
    """The server reads the dataset itself; nothing is sent, and delivering again adds nothing."""
    delivered = bench.deliver()

    bench.check(delivered)
    source = bench.server.datasets()[0].source
    assert source is not None
    mags = [mag["path"] for mag in source["dataLayers"][0]["mags"]]
    assert [f"file://{bench.dataset}/color/1".replace(" ", "%20")] == mags[:1]
    assert ["planned", "finishing", "finished", "described"] == bench.journal.stages
    assert 0 == delivered.sent_bytes == len(bench.server.requests("chunk"))
    bench.check(bench.deliver())
    bench.journal.last = None  # nobody remembers but the server
    assert delivered.remote_id == bench.deliver().remote_id


@pytest.mark.parametrize("scheme", ["https", "s3"])
def test_register_at_an_address(bench: Bench, tmp_path: Path, scheme: str) -> None:
    """Shares that the server knows by an address are registered at it, by the longest rule."""
    remote = f"{scheme}://em.example.org/wk"
    places = ((remote, str(tmp_path / "share")),)
    bench.server.behaviour = replace(bench.server.behaviour, remote_places=places)
    rules = (PathRule("/", "file:///"), PathRule(str(tmp_path / "share"), f"{remote}/"))

    bench.check(bench.deliver(path_rules=rules))

    source = bench.server.datasets()[0].source
    assert source is not None
    first = source["dataLayers"][0]["mags"][0]["path"]
    assert f"{remote}/run%201/color/1" == first


def test_register_without_a_rule(bench: Bench, tmp_path: Path) -> None:
    """A dataset that no rule covers is refused, with the line to write."""
    with pytest.raises(DeliveryRefusedError, match="path_map") as caught:
        bench.deliver(path_rules=(PathRule("/elsewhere", "file:///srv"),))

    assert f'"{tmp_path / "share"}" = "file:///srv/wk"' in caught.value.hint
    assert [] == bench.server.datasets()


def test_register_what_the_server_cannot_read(bench: Bench) -> None:
    """What it can neither explore nor read by its mags is refused, and nothing is left there."""
    bench.server.behaviour = Behaviour()

    with pytest.raises(DeliveryRefusedError, match=r"cannot read .*not allowed"):
        bench.deliver()

    places = (("https://em.example.org", "/nowhere"),)
    bench.server.behaviour = Behaviour(remote_places=places)
    with pytest.raises(DeliveryRefusedError, match="reaches this address"):
        bench.deliver(path_rules=(PathRule("/", "https://em.example.org"),))

    assert [] == bench.server.datasets()


def test_register_by_its_mags(bench: Bench) -> None:
    """A server that cannot explore is told every mag, and shows that it reads them."""
    bench.server.behaviour = replace(bench.server.behaviour, can_explore=False)

    bench.check(bench.deliver())

    assert "AddVirtual" == bench.server.datasets()[0].creation_type


@pytest.mark.parametrize("route", ["explore_and_add", "add_virtual"])
def test_register_whose_answer_is_lost(bench: Bench, route: str) -> None:
    """An answer that gets lost, or a proxy's instead, adds no second dataset."""
    can_explore = route == "explore_and_add"
    bench.server.behaviour = replace(bench.server.behaviour, can_explore=can_explore)
    for fault in (Fault(route, reset="answer"), Fault(route, status=504, is_done=True)):
        bench.server.faults.add(fault)

        bench.check(bench.deliver())

        bench.server.world.datasets.clear()
        bench.journal.last = None


@pytest.mark.parametrize("name", ["explore_and_add", "add_virtual"])
def test_register_that_a_proxy_answers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A page with status 200 instead of the id: the dataset is looked for, and added once."""
    can_explore = name == "explore_and_add"
    bench.server.behaviour = replace(bench.server.behaviour, can_explore=can_explore)
    work = bench.server._work

    def answer(route: Route, request: Request) -> Response:
        done = work(route, request)
        return Response(200, b"<html>wait</html>", "text/html") if route.name == name else done

    monkeypatch.setattr(bench.server, "_work", answer)
    bench.check(bench.deliver())


def test_register_that_never_arrived(bench: Bench) -> None:
    """A request that came to nothing is put off and made again."""
    bench.server.faults.add(Fault("explore_and_add", status=503))

    with pytest.raises(DeliveryUnavailableError):
        bench.deliver()

    bench.check(bench.deliver())


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("transfer", "is_uri"), [("copy", False), ("copy", True), ("symlink", False), ("move", False)]
)
def test_paths_bring_all_files(
    bench: Bench, published: Path, transfer: Transfer, is_uri: bool
) -> None:
    """Every mag is where the server wants it, and can still be read where it was."""
    bench.server.behaviour = replace(bench.server.behaviour, are_paths_uris=is_uri)

    delivered = bench.deliver(kind="paths", transfer=transfer, path_rules=())

    bench.check(delivered)
    assert contents(published) == contents(place_of(bench)) == contents(bench.dataset)
    layers = bench.dataset / "color/1", place_of(bench) / "color/1"
    links = {"copy": (False, False), "symlink": (False, True), "move": (True, False)}
    assert links[transfer] == tuple(path.is_symlink() for path in layers)
    assert (delivered.sent_bytes > 0) == (transfer == "copy")
    bench.check(bench.deliver(kind="paths", transfer=transfer, path_rules=()))
    assert 1 == len(bench.server.requests("finish_paths"))


def test_paths_through_a_mount(bench: Bench, tmp_path: Path) -> None:
    """Storage that is mounted elsewhere is found by its rule, and links hold the server's path."""
    server_view = tmp_path / "not" / "here"
    bench.server.behaviour = replace(bench.server.behaviour, path_prefixes=(str(server_view),))
    (tmp_path / "mount").mkdir()
    rules = (
        PathRule(str(tmp_path / "mount"), f"file://{server_view}"),
        PathRule(str(tmp_path / "share"), "file:///srv/share"),
    )
    source = bench.server.world

    with pytest.raises(DeliveryRefusedError, match="does not exist here"):
        bench.deliver(kind="paths", path_rules=())
    assert not server_view.exists()
    assert {} == source.datasets

    with pytest.raises(DeliveryRefusedError, match="not what was sent"):
        # the stand-in runs here and sees no /srv/share: it serves zeros
        bench.deliver(kind="paths", transfer="symlink", path_rules=rules)
    links = [path for path in (tmp_path / "mount").rglob("*") if path.is_symlink()]
    assert {"/srv/share/run 1/color/1"} == {
        str(path.readlink()) for path in links if path.name == "1"
    }


def test_paths_of_a_server_without(bench: Bench) -> None:
    """A server that takes no data by path says so, and nothing is written."""
    bench.server.behaviour = replace(bench.server.behaviour, has_paths=False)

    with pytest.raises(DeliveryRefusedError, match="does not support dataset upload to paths"):
        bench.deliver(kind="paths")

    bench.server.behaviour = replace(
        bench.server.behaviour, has_paths=True, path_prefixes=("s3://bucket/wk",)
    )
    with pytest.raises(DeliveryRefusedError, match="no place in a file system"):
        bench.deliver(kind="paths")


def test_paths_over_something_else(bench: Bench) -> None:
    """What stands where a mag shall go is not touched."""
    seen: list[Path] = []

    def put_something(name: str) -> None:
        if name == "delivery.id_recorded" and not seen:
            seen.append(place_of(bench) / "color/1")
            seen[0].mkdir(parents=True)
            (seen[0] / "mine").write_text("kept")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(paths, "reach", put_something)
        with pytest.raises(DeliveryRefusedError, match="something else stands there"):
            bench.deliver(kind="paths", transfer="copy")

    assert "kept" == (seen[0] / "mine").read_text()
    shutil.rmtree(seen[0])
    bench.check(bench.deliver(kind="paths", transfer="copy"))


# ---------------------------------------------------------------- crashes


CRASHES = [
    ("paths", "copy", "chunk_sent"),
    *(("register", "copy", step) for step in STEPS["register"]),
    *(("paths", "move", step) for step in STEPS["paths"]),
]


@pytest.mark.parametrize(("kind", "transfer", "step"), CRASHES)
def test_a_crash_between_steps(
    bench: Bench,
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    transfer: Transfer,
    step: str,
) -> None:
    """Wherever it ends, the next attempt leaves one dataset, whole, and delivers it once."""
    monkeypatch.setattr(register if kind == "register" else paths, "reach", ends_at(step))
    rules = bench.request.path_rules if kind == "register" else ()
    changed: dict[str, Any] = {"kind": kind, "transfer": transfer, "path_rules": rules}

    with pytest.raises(Killed):
        bench.deliver(**changed)
    bench.check(bench.deliver(**changed))

    assert contents(published) == contents(bench.dataset)
    if kind == "paths":
        assert contents(published) == contents(place_of(bench))
        assert [] == list(bench.server.world.root.rglob(".stackwatch-*"))


def ends_at(step: str) -> Callable[[str], None]:
    """Return what ends a process at a step, the first time only."""
    left = [f"delivery.{step}"]

    def reach(name: str) -> None:
        if name in left:
            left.clear()
            raise Killed

    return reach


class Child:
    """A process that delivers, and writes its records to a file."""

    CODE: ClassVar = """
import json, sys, threading
from dataclasses import asdict
from pathlib import Path
from stackwatch.model.delivery import DeliveryRequest, ServerOptions
from stackwatch.pipeline.deliver import deliver
from stackwatch.webknossos.token import Token

class Journal:
    cancelled = threading.Event()
    def progress(self, progress): pass
    def record(self, record): Path(sys.argv[3]).write_text(json.dumps(asdict(record)))

deliver(
    DeliveryRequest("paths", Path(sys.argv[1]), "", ServerOptions(sys.argv[2]),
        remote_folder="em", transfer="move"),
    Journal(), token=Token(sys.argv[4]),
)
"""


def test_a_kill_while_mags_are_moved(bench: Bench, published: Path, tmp_path: Path) -> None:
    """Kill -9 after the first mag: the dataset is whole all the time, and delivered once."""
    record = tmp_path / "record.json"
    options = [str(bench.dataset), bench.server.url, str(record), bench.server.token]
    done = subprocess.run(
        [sys.executable, "-c", Child.CODE, *options],
        env=os.environ | {"STACKWATCH_FAILPOINT": "delivery.chunk_sent"},
        capture_output=True,
    )
    assert -signal.SIGKILL == done.returncode, done.stderr.decode()
    assert contents(published) == contents(bench.dataset)
    bench.journal.last = UploadRecord(**json.loads(record.read_text()))

    bench.check(bench.deliver(kind="paths", transfer="move", path_rules=()))

    assert contents(published) == contents(place_of(bench)) == contents(bench.dataset)


def test_a_move_without_exchange(bench: Bench, published: Path) -> None:
    """Where two names cannot be exchanged and a kill comes in between, the link is mended."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stackwatch.webknossos.placing.exchange_names", lambda *_: False)
        patched.setattr(Path, "symlink_to", dies_after(Path.symlink_to, bench.dataset))
        with pytest.raises(Killed):
            bench.deliver(kind="paths", transfer="move", path_rules=())
    assert not (bench.dataset / "color/1").exists()

    bench.check(bench.deliver(kind="paths", transfer="move", path_rules=()))

    assert contents(published) == contents(place_of(bench)) == contents(bench.dataset)


def dies_after(link: Callable[..., None], dataset: Path) -> Callable[..., None]:
    """Return a `symlink_to` that ends the process before it links within the dataset."""

    def symlink_to(self: Path, target: Path | str) -> None:
        if self.is_relative_to(dataset):
            raise Killed
        link(self, target)

    return symlink_to


def test_teams_that_people_changed_stay_changed(bench: Bench):
    """A registered dataset gets its teams before it is described, and is people's since."""
    bench.deliver(teams=("EM",))
    found = bench.server.datasets()[0]
    assert [bench.server.world.teams[0].id] == found.teams
    found.teams = []
    bench.deliver(teams=("EM",))

    assert [] == found.teams
