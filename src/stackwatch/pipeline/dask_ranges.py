"""The executor `dask`: ranges on the workers of a Dask cluster that shares our file systems.

A worker that is lost takes nothing with it: what its ranges have finished lies on the disk, with a
receipt, and what they have not is done again by others. So does a scheduler: the ranges without a
receipt are handed to the next one at the same address.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from stackwatch.engine.executor import RangeDone
from stackwatch.engine.stream import StreamControl
from stackwatch.errors import (
    CancelledError,
    ClusterError,
    MissingExtraError,
    StackwatchError,
)
from stackwatch.model.acquisition import show_path
from stackwatch.model.options import ClusterOptions
from stackwatch.pipeline.ranges import read_receipt, run_range

LOOK_S = 0.25
CONNECT_S = 10.0
ASK_S = 2.0
"""How often the scheduler is asked who it is."""

TRIES: Final = 4
"""How often the workers of one range may be lost before it is blamed."""


class DaskExecutor:
    """Hands ranges to a Dask scheduler, or to workers it has Slurm start.

    Parameters
    ----------
    options : ClusterOptions

    Raises
    ------
    MissingExtraError
        The extra `dask` is not installed.
    ClusterError
        Nobody answers at the scheduler's address, or it runs other versions.
    """

    name = "dask"

    def __init__(self, options: ClusterOptions) -> None:
        self._options = options
        self._cluster = _start_cluster(options)
        self._client: Any = None
        self._scheduler_id = ""
        self._asked_s = time.monotonic()
        self._has_workers = False
        self._threads = 0
        self._has_news = threading.Event()
        try:
            self._connect()
        except BaseException:
            self.close()  # jobs that Slurm was asked for must not outlive us
            raise
        self.slots = max(options.workers, self._threads)

    def carry_out(
        self,
        order: Path,
        numbers: Sequence[int],
        done: RangeDone,
        control: StreamControl,
        tick: Callable[[], None],
    ) -> None:
        """Return when every range was carried out, as the port says."""
        left = set(numbers)
        futures: dict[int, Any] = {}
        lost = dict.fromkeys(numbers, 0)
        try:
            while left:
                control.check()
                tick()
                if not self._is_connected():
                    futures.clear()
                    self._reconnect(control, tick)
                if not self._has_workers:
                    control.on_step()  # a queue may take hours: that is no stall
                self._hand_in(order, left, futures)
                for number in _finished(futures):
                    future = futures.pop(number)
                    receipt = self._receipt(order, number, future)
                    if receipt is None:
                        lost[number] += 1
                        _ensure_tries(number, lost[number], future, order)
                        continue
                    left.discard(number)
                    done(number, receipt)
                self._has_news.wait(LOOK_S)
                self._has_news.clear()
        finally:
            with suppress(Exception):  # whatever the scheduler says: the order is gone soon
                self._client.cancel(list(futures.values()), force=True)

    def close(self) -> None:
        """Leave the scheduler; end the workers that were started for us."""
        for part in (self._client, self._cluster):
            if part is not None:
                with suppress(Exception):  # a scheduler that is gone cannot say good-bye
                    part.close(timeout=CONNECT_S)

    def _is_connected(self) -> bool:
        """Tell whether the scheduler that was given the ranges is still there.

        The client reconnects by itself, to another one at the same address too, and says nothing.
        """
        if self._client is None or self._client.status != "running":
            return False
        now_s = time.monotonic()
        if now_s - self._asked_s > ASK_S:
            self._asked_s = now_s
            try:
                told = self._client.scheduler_info()
                self._has_workers = bool(told["workers"])
                return bool(told["id"] == self._scheduler_id)
            except Exception:  # noqa: BLE001 - however it fails, there is no answer
                return False
        return True

    def _hand_in(self, order: Path, left: set[int], futures: dict[int, Any]) -> None:
        for number in sorted(left - futures.keys()):
            futures[number] = future = self._client.submit(
                run_range,
                str(order),
                number,
                key=f"stackwatch-{order.parent.parent.parent.name}-{number}-{time.time_ns()}",
                pure=False,
            )
            future.add_done_callback(lambda _: self._has_news.set())

    def _receipt(self, order: Path, number: int, future: Any) -> dict[str, Any] | None:
        """Return a range's receipt, None if its worker or scheduler was lost before there was one.

        The disk knows better than the scheduler.
        """
        receipt = read_receipt(order, number)
        if receipt is not None:
            return receipt
        error = future.exception() if future.status == "error" else None
        if isinstance(error, StackwatchError) and not isinstance(error, CancelledError):
            raise error
        if error is not None and type(error).__name__ not in _LOSSES:
            hint = "Install the same stackwatch and Python on the workers as here."
            raise ClusterError(
                f"A worker of the cluster cannot convert: {type(error).__name__}: {error}. {hint}",
                hint=hint,
            ) from error
        return None

    def _connect(self) -> None:
        """Connect to the scheduler, and make sure that it can do our work; else there is none."""
        from distributed import Client

        place = self._cluster if self._cluster is not None else self._options.scheduler
        try:
            _knock(self._options.scheduler)
            self._client = Client(place, timeout=CONNECT_S, set_as_default=False)
            self._client.get_versions(check=True)
            told = self._client.scheduler_info()
            self._scheduler_id, self._has_workers = told["id"], bool(told["workers"])
            self._threads = sum(self._client.nthreads().values())
        except (OSError, TimeoutError, ValueError) as error:
            self._disconnect()
            hint = "Start `dask scheduler`, or set `scheduler` under `[cluster]` to its address."
            raise ClusterError(
                f"The Dask scheduler at {self._options.scheduler or 'the new cluster'} cannot be "
                f"used: {error}. {hint}",
                hint=hint,
                scheduler=self._options.scheduler,
            ) from error

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # the scheduler is gone
                client.close(timeout=1)

    def _reconnect(self, control: StreamControl, tick: Callable[[], None]) -> None:
        """Wait for a scheduler to come back at its address."""
        until_s = time.monotonic() + self._options.lost_after_s
        self._disconnect()
        while self._client is None:
            control.check()
            tick()
            try:
                self._connect()
            except ClusterError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(1)


_LOSSES = {
    "KilledWorker",
    "CommClosedError",
    "TimeoutError",
    "CancelledError",
    "FutureCancelledError",
}


def _knock(address: str) -> None:
    """Make sure that somebody listens: a client that finds nobody leaves a thread behind."""
    parts = urlsplit(address)
    if parts.scheme in ("tcp", "tls") and parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), CONNECT_S).close()


def _finished(futures: dict[int, Any]) -> list[int]:
    return [number for number, future in futures.items() if future.status != "pending"]


def _ensure_tries(number: int, lost: int, future: Any, order: Path) -> None:
    if lost < TRIES:
        return
    if future.status == "error" and isinstance(future.exception(), CancelledError):
        place = show_path(order.parent)
        hint = (
            "Let the workers see it under the same path; for `stackwatch convert` to a bucket, set "
            "`TMPDIR` to a folder that they share."
        )
        raise ClusterError(
            f"The workers of the cluster do not see “{place}”. {hint}", hint=hint, path=place
        )
    hint = "Look at the workers' logs and memory; give them more with `memory_gib`."
    raise ClusterError(
        f"The workers that converted range {number} were lost {lost} times. {hint}", hint=hint
    )


def _start_cluster(options: ClusterOptions) -> Any:
    """Return a cluster whose workers Slurm starts; None where a scheduler is there already."""
    try:
        import distributed  # noqa: F401 - whether it is there
    except ImportError as error:
        raise _missing() from error
    if options.kind != "slurm":
        return None
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise _missing() from error
    cluster = SLURMCluster(
        queue=options.partition or None,
        cores=options.threads,
        processes=1,
        memory=f"{options.memory_gib}GiB",
        walltime=options.wall_time,
    )
    # not `scale`: that does not ask for others when these have come to the end of their wall time
    cluster.adapt(minimum_jobs=options.workers, maximum_jobs=options.workers)
    return cluster


def _missing() -> MissingExtraError:
    line = 'pip install "stackwatch[dask]"'
    return MissingExtraError(
        f'`executor = "dask"` needs the extra `dask`. Install it: {line}', hint=f"Run: {line}"
    )
