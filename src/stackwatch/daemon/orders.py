"""What a worker is told about a job: where, what, how, and with how much of the machine."""

from collections.abc import Sequence
from dataclasses import replace

from stackwatch.daemon.history import History, count_kills
from stackwatch.daemon.naming import count_published, ensure_unclaimed, plan_target
from stackwatch.daemon.workers import Order
from stackwatch.errors import StillArrivingError
from stackwatch.ledger.records import DatasetRecord, Job
from stackwatch.model.acquisition import show_path
from stackwatch.model.facts import Sighting
from stackwatch.model.options import ResourceOptions
from stackwatch.pipeline.request import ConvertRequest, EarlierDataset
from stackwatch.pipeline.retry import plan_smaller
from stackwatch.settings import FolderSettings, Settings


def plan_order(settings: Settings, history: History, job: Job, sighting: Sighting) -> Order:
    """Return the order for an attempt at a job.

    Parameters
    ----------
    settings : Settings
    history : History
    job : Job
        Claimed.
    sighting : Sighting
        Of this very moment.

    Raises
    ------
    TargetExistsError
        An older acquisition has this name.
    StillArrivingError
        The folder was taken out of the settings.
    """
    folder = settings.folder_named(job.folder)
    if folder is None:
        raise StillArrivingError(
            f"Folder “{job.folder}” is not in the settings any more.",
            hint="Put it back into the settings to convert what lies in it.",
        )
    ensure_unclaimed(
        settings, folder, job.name, history.older_names(folder.target, job.acquisition_id)
    )
    share = _share(settings, count_kills(history.events_of(job.job_id)))
    resources = replace(share, reserve_gib=folder.reserve_gib)
    datasets = history.datasets_of(job.acquisition_id)
    published = [dataset for dataset in datasets if dataset.generation < job.generation]
    kept = [dataset for dataset in datasets if dataset.generation == job.generation]
    target = plan_target(folder, job.name, count_published(folder, job.name, published))
    request = ConvertRequest(
        source=folder.path / sighting.source if sighting.source else folder.path,
        target=target,
        options=replace(folder.convert_options(resources), dataset_name=show_path(target.name)),
        members=sighting.members,
        staging_name=job.staging_name,
        earlier=(
            *_replaceable(folder, published),
            *(EarlierDataset(one.path, one.run_id, is_kept=True) for one in kept),
        ),
        announced_runs=history.lost_runs(job.acquisition_id) if folder.bucket else (),
    )
    bound = {
        "job_id": job.job_id,
        "attempt": job.attempt,
        "acquisition_id": job.acquisition_id,
    }
    return Order(
        job.job_id,
        job.attempt,
        request,
        bound,
        settings.logs.model_dump(mode="json"),
        state_dir=settings.daemon.state_dir,
    )


def _share(settings: Settings, kills: int) -> ResourceOptions:
    """Return a job's share of the machine, smaller if its workers were killed before."""
    share = settings.job_resources()
    assert share.memory_gib is not None
    assert share.threads is not None
    memory_gib, threads = plan_smaller(share.memory_gib, share.threads, kills)
    return replace(share, memory_gib=memory_gib, threads=threads)


def _replaceable(
    folder: FolderSettings, published: Sequence[DatasetRecord]
) -> tuple[EarlierDataset, ...]:
    """Return the datasets of older contents that may be replaced.

    At each place it is the one the ledger last saw there. The worker compares it with the dataset's
    own manifest before it begins, and again before it renames: whatever else lies there is not
    ours.
    """
    if folder.on_change != "replace":
        return ()
    return tuple(EarlierDataset(one.path, one.run_id) for one in published)
