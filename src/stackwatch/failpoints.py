"""Named places at which a test may kill the process, to prove that kill -9 is harmless.

`STACKWATCH_FAILPOINT=name` kills at the first passage, `name:3` at the third. `name:1:both` kills
the parent first (a worker's daemon), and `name:1:freeze` stops the process there until somebody
lets it go on (SIGCONT). Unset in production: `reach` then costs one dictionary look-up.
"""

import os
import signal
from typing import Final

FAILPOINTS: Final = (
    "worker.started",
    "convert.planned",
    "convert.slice_read",
    "convert.slab_written",
    "convert.engine_done",
    "verify.done",
    "publish.before_fsync",
    "publish.before_rename",
    "publish.after_rename",
    "publish.after_parent_fsync",
    "ledger.before_claim_commit",
    "ledger.after_claim_commit",
    "ledger.before_publish_commit",
    "ledger.after_publish_commit",
    "daemon.job_queued",
    "daemon.worker_started",
    "daemon.result_received",
)

DISPOSAL_FAILPOINTS: Final = (
    "dispose.before_copy",
    "dispose.after_copy",
    "dispose.before_remove",
    "dispose.mid_remove",
    "dispose.after_remove",
)
"""Reached only where a folder's settings say `archive` or `delete`."""

DELIVERY_FAILPOINTS: Final = (
    "delivery.planned",
    "delivery.reserved",
    "delivery.id_recorded",
    "delivery.chunk_sent",
    "delivery.chunks_sent",
    "delivery.finishing",
    "delivery.finish_answered",
    "delivery.finished",
    "delivery.verified",
    "delivery.described",
    "delivery.before_commit",
    "delivery.committed",
)
"""Reached only where a dataset is delivered, each after what it names: `planned` is recorded, the
reservation is answered, the dataset's id is recorded, a chunk is sent, all are, `finishing` is
recorded, the answer to it is here and not recorded yet, `finished` is recorded, what the server has
is compared, the metadata are written; then in the daemon, around its last commit."""

PREVIEW_FAILPOINTS: Final = ("preview.part_written",)
"""Reached when a picture is on the disk and not yet at its place."""

EXCHANGE_FAILPOINTS: Final = ("publish.between_renames",)
"""Reached only where a dataset is replaced on a file system that cannot exchange two folders."""

_TABLES: Final = (
    FAILPOINTS, DISPOSAL_FAILPOINTS, DELIVERY_FAILPOINTS, PREVIEW_FAILPOINTS, EXCHANGE_FAILPOINTS,
)  # fmt: skip

_passages: dict[str, int] = {}


def reach(name: str) -> None:
    """Die here, or freeze, if the environment asks for it.

    Parameters
    ----------
    name : str
        One of the tables above.
    """
    wanted = os.environ.get("STACKWATCH_FAILPOINT")
    if not wanted:
        return
    assert any(name in table for table in _TABLES), name
    target, _, more = wanted.partition(":")
    if target != name:
        return
    count, _, action = more.partition(":")
    _passages[name] = _passages.get(name, 0) + 1
    if _passages[name] < int(count or 1):
        return
    if action == "freeze":
        if _passages[name] == int(count):
            os.kill(os.getpid(), signal.SIGSTOP)
        return
    if action == "both":
        os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
