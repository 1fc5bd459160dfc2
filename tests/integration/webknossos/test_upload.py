"""An upload where nothing goes wrong: byte for byte, described, once."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import stackwatch
from stackwatch.errors import (
    DeliveryRefusedError,
    DeliveryUnauthorizedError,
    DeliveryUnavailableError,
)
from stackwatch.testing.synthetic import SyntheticAcquisition, SyntheticLayer
from stackwatch.testing.webknossos_faults import Behaviour, Fault
from stackwatch.testing.webknossos_server import TOKENS, WebknossosServer
from stackwatch.webknossos.remote import RUN_ID_KEY

from .conftest import Courier, Notebook, sent_tree

STAGES = ["planned", "reserved", "sending", "finishing", "finished", "described"]


@pytest.mark.parametrize("version", [10, 13, 14, 16, 99])
def test_files_arrive_byte_for_byte_in_every_version(
    courier: Courier, server: WebknossosServer, dataset: Path, version: int
):
    """Each file below a mag is on the server as it lies here, in many chunks."""
    server.behaviour = replace(server.behaviour, newest_version=version)
    notebook = Notebook()
    delivered = courier.bring(notebook)
    (found,) = server.datasets()

    assert sent_tree(dataset) == sent_tree(server.files(found))
    assert (found.id, f"{server.url}/datasets/{found.id}", "cells_1") == (
        delivered.remote_id,
        delivered.link,
        delivered.name,
    )
    assert STAGES == notebook.stages
    assert len(server.requests("chunk")) > 2 * len(sent_tree(dataset))
    assert {min(version, 16)} == {asked.version for asked in server.requests("chunk")}
    assert () == delivered.warnings


def test_wkw_and_labels_arrive_byte_for_byte(
    courier: Courier, server: WebknossosServer, tmp_path: Path
):
    """WKW datasets, colours and segmentations are sent and probed as grey Zarr3 layers are."""
    SyntheticAcquisition((
        SyntheticLayer(folder="rgb", shape_zyx=(3, 50, 40), samples=3),
        SyntheticLayer(folder="labels", shape_zyx=(3, 50, 40), content="labels", dtype="uint16"),
    )).write(tmp_path / "run")  # fmt: skip
    stackwatch.convert(tmp_path / "run", tmp_path / "wkw", voxel_size_nm=(9, 9, 9), format="wkw")
    courier.bring(dataset=tmp_path / "wkw")

    assert sent_tree(tmp_path / "wkw") == sent_tree(server.files(server.datasets()[0]))
    assert len(server.requests("data")) > 2


def test_progress_ends_with_every_byte(courier: Courier, dataset: Path):
    """Progress tells bytes done of those that are sent, and the stage."""
    notebook = Notebook()
    delivered = courier.bring(notebook)
    properties = (dataset / "datasource-properties.json").stat().st_size
    total = properties + sum(len(data) for data in sent_tree(dataset).values())
    sending = [shown for shown in notebook.shown if shown.stage == "sending"]

    assert (total, total) == (sending[-1].done_bytes, sending[-1].total_bytes)
    assert total == delivered.sent_bytes
    assert {"sending", "finishing", "finished"} == {shown.stage for shown in notebook.shown}


def test_each_box_that_is_read_back_is_a_step(courier: Courier, server: WebknossosServer):
    """A server that is slow to give voxels back is seen to get on, box by box."""
    notebook = Notebook()
    courier.bring(notebook)
    steps = [shown.compared for shown in notebook.shown if shown.stage == "finished"]

    assert list(range(len(server.requests("data")) + 1)) == steps
    assert len(steps) > 3


def test_it_is_described(courier: Courier, server: WebknossosServer, dataset: Path):
    """Folder, teams, tags, description and provenance are those asked for; the folder is made."""
    manifest = json.loads((dataset / "stackwatch.json").read_text())
    delivered = courier.bring(
        name="run 41/b",
        remote_folder="Datasets/em/2026/may",
        teams=("EM",),
        tags=("raw", "em2"),
        description="Cells",
        facts=(("operator", "AM"),),
    )
    (found,) = server.datasets()
    values = {entry["key"]: entry["value"] for entry in found.metadata}
    names = []
    folder = server.world.folders.get(found.folder_id)
    while folder is not None:
        names.append(folder.name)
        folder = server.world.folders.get(folder.parent)

    assert ["may", "2026", "em", "Datasets"] == names
    assert ("run_41_b", "Cells", ["raw", "em2"]) == (found.name, found.description, found.tags)
    assert delivered.name == "run_41_b"
    assert [server.world.teams[0].id] == found.teams
    assert manifest["run_id"] == values[RUN_ID_KEY]
    assert ("AM", manifest["source"]) == (values["operator"], values["stackwatch_source"])
    assert manifest["content_digest"] == values["stackwatch_content_digest"]


def test_the_second_time_nothing_is_sent(courier: Courier, server: WebknossosServer):
    """Without any record the run id in the metadata answers that it was delivered already."""
    first = courier.bring(tags=("a",))
    server.datasets()[0].metadata.append({"key": "mine", "type": "string", "value": "kept"})
    sent = len(server.requests("chunk"))
    again = courier.bring(tags=("b",))
    (found,) = server.datasets()

    assert (first.remote_id, 0) == (again.remote_id, again.sent_bytes)
    assert sent == len(server.requests("chunk"))
    assert ["a", "b"] == found.tags
    assert {"key": "mine", "type": "string", "value": "kept"} in found.metadata


def test_older_generations_are_tagged(courier: Courier, server: WebknossosServer):
    """A new generation marks the datasets it takes the place of; one that is gone is told."""
    old = courier.bring(name="old")
    server.datasets()[0].metadata.clear()
    delivered = courier.bring(supersedes=(old.remote_id, "0" * 24))

    assert ["superseded"] == server.datasets("old")[0].tags
    assert 1 == len(delivered.warnings)
    assert "0" * 24 in delivered.warnings[0]


def test_two_datasets_may_share_a_name(courier: Courier, server: WebknossosServer, tmp_path: Path):
    """A dataset of another run under the same name is never taken for ours."""
    courier.bring()
    SyntheticAcquisition().write(tmp_path / "run")
    stackwatch.convert(tmp_path / "run", tmp_path / "cells_1", voxel_size_nm=(9, 9, 9))
    courier.bring(dataset=tmp_path / "cells_1")
    first, second = server.datasets("cells_1")

    assert first.metadata != second.metadata
    assert sent_tree(tmp_path / "cells_1") == sent_tree(server.files(second))


def test_a_datastore_that_lags_behind_is_spoken_to_in_its_own_version(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """WEBKNOSSOS speaks 16 and its datastore 13: each gets what it understands."""
    server.behaviour = replace(server.behaviour, datastore_newest_version=13)
    courier.bring()

    assert {13} == {asked.version for asked in server.requests("chunk")}
    assert {16} == {asked.version for asked in server.requests("user")}
    assert sent_tree(dataset) == sent_tree(server.files(server.datasets()[0]))


def test_the_first_datastore_that_takes_uploads_is_chosen(tmp_path: Path, dataset: Path):
    """A datastore in front that takes none is passed over; named, it is refused by the server."""
    with WebknossosServer(tmp_path / "wk", Behaviour(has_closed_datastore=True)) as server:
        delivered = stackwatch.upload(
            dataset, url=server.url, token=server.token, state_dir=tmp_path / "state"
        )

        assert [delivered.remote_id] == [found.id for found in server.datasets()]
        with pytest.raises(DeliveryRefusedError, match="no datastore “nowhere”") as refused:
            stackwatch.upload(
                dataset,
                url=server.url,
                token=server.token,
                datastore="nowhere",
                state_dir=tmp_path / "state",
            )
        assert "archive, localhost" in refused.value.message


@pytest.mark.parametrize("is_list", [False, True])
def test_a_name_that_is_refused_parks(courier: Courier, server: WebknossosServer, is_list: bool):
    """What the server says of a name reaches people, as a text or a list."""
    server.behaviour = replace(server.behaviour, are_name_errors_listed=is_list)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stackwatch.webknossos.places.fit_dataset_name", lambda name: name)
        with pytest.raises(DeliveryRefusedError, match="Please use only letters"):
            courier.bring(name="a b c")

    assert [] == server.datasets()


def test_an_account_without_rights_is_told_before_anything_is_sent(
    courier: Courier, server: WebknossosServer
):
    """A member who manages nothing may not upload: the error says what is missing."""
    with pytest.raises(DeliveryUnauthorizedError, match="dataset manager") as refused:
        courier.bring(token=TOKENS["member"])

    assert "wait" == str(refused.value.disposition)
    assert [] == server.requests("reserve")


def test_a_team_manager_uploads_below_the_folders_of_the_team(
    courier: Courier, server: WebknossosServer
):
    """Who manages a team may deliver into its folder, and nowhere else."""
    with pytest.raises(DeliveryRefusedError, match="No write access in this folder") as refused:
        courier.bring(token=TOKENS["team"])
    courier.bring(token=TOKENS["team"], remote_folder="em", teams=("EM",))

    assert "remote_folder" in refused.value.hint
    assert [True] == [found.is_active for found in server.datasets()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teams": ("Nobody",)}, "no team “Nobody”"),
        ({"teams": ("Guests",), "token": TOKENS["manager"]}, "Can only assign teams"),
    ],
)
def test_teams_that_cannot_be_are_refused(courier: Courier, changes: dict[str, str], said: str):
    """A team that does not exist, or is not ours, parks the delivery."""
    with pytest.raises(DeliveryRefusedError, match=said):
        courier.bring(**changes)  # type: ignore[arg-type] # of the request


def test_a_dataset_that_changed_is_not_sent(
    courier: Courier, server: WebknossosServer, dataset: Path, tmp_path: Path
):
    """What is not what was verified, or is another run's, stays here."""
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    shard = next(path for path in copy.rglob("c/*/*/*/*") if path.is_file())
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(DeliveryRefusedError, match="is not what was written"):
        courier.bring(dataset=copy)
    with pytest.raises(DeliveryRefusedError, match="not the dataset that was published"):
        courier.bring(run_id="another")
    (copy / "stackwatch.json").unlink()
    with pytest.raises(DeliveryRefusedError, match=r"no stackwatch\.json"):
        courier.bring(dataset=copy)

    assert [] == server.requests("reserve")


def test_quota_parks_with_the_remedy(courier: Courier, server: WebknossosServer):
    """A quota that is exceeded comes as a 400 of the datastore; its cause is told all the same."""
    server.behaviour = replace(server.behaviour, quota_bytes=1000)
    with pytest.raises(DeliveryRefusedError, match="storage quota") as refused:
        courier.bring()

    assert "quota" in refused.value.hint
    assert [] == server.requests("chunk")


def test_what_people_changed_on_the_server_stays(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """A dataset that was described is theirs: neither compared, replaced nor deleted again."""
    notebook = Notebook()
    first = courier.bring(notebook)
    (found,) = server.datasets()
    assert found.source is not None
    found.source["dataLayers"][0]["name"] = "membranes"
    again = [courier.bring(record=record) for record in notebook.records[-2:]]
    found.metadata = [{"key": "stackwatch_run_id", "type": "string", "value": "of another"}]
    with pytest.raises(DeliveryRefusedError, match="was delivered before"):
        courier.bring(record=notebook.records[-2])

    assert [(first.remote_id, 0)] * 2 == [(one.remote_id, one.sent_bytes) for one in again]
    assert [found] == server.datasets()
    assert 1 == len(server.requests("reserve"))


def test_very_many_names_need_not_be_told(
    courier: Courier, server: WebknossosServer, dataset: Path
):
    """Where the list of files is more than the server reads, it is reserved without."""
    server.faults.add(Fault("reserve", status=413))
    courier.bring()

    assert sent_tree(dataset) == sent_tree(server.files(server.datasets()[0]))
    assert [413, 200] == [asked.status for asked in server.requests("reserve")]
    first, second = (asked.body_bytes for asked in server.requests("reserve"))
    assert second < first


def test_a_wrong_address_is_told_soon(courier: Courier, server: WebknossosServer):
    """A server that does not answer at all is not waited for as one in the middle of an upload."""
    server.faults.add(Fault("buildinfo", status=503, times=-1))
    with pytest.raises(DeliveryUnavailableError):
        courier.bring()
    assert sum(courier.slept) < 20

    with pytest.raises(DeliveryRefusedError, match="does not answer as a WEBKNOSSOS"):
        courier.bring(server=replace(courier.request.server, url=f"{server.url}/dashboard"))
