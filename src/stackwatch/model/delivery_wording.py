"""Say how a delivery stands, in one line."""

from collections.abc import Mapping
from typing import Any

from stackwatch.model.wording import format_bytes, format_time


def describe_delivery(delivery: Mapping[str, Any]) -> str:
    """Return one line.

    Parameters
    ----------
    delivery : mapping
        As `DeliveryRecord.as_record` gives it.
    """
    if delivery["is_superseded"]:
        return "not delivered: a newer content took its place"
    match delivery["state"]:
        case "delivered":
            return f"{delivery['link']} since {format_time(delivery['finished_at_us'])}"
        case "running":
            return f"is being delivered, {describe_progress(delivery)}"
        case "parked":
            return f"parked: {delivery['message']}"
        case "paused":
            again = format_time(delivery["not_before_us"])
            return f"paused, again after {again}: {delivery['message']}"
        case _:
            because = f": {delivery['message']}" if delivery["message"] else ""
            return f"to be delivered{because}"


def describe_progress(delivery: Mapping[str, Any]) -> str:
    """Return how far a running delivery is."""
    progress = delivery["progress"] or {}
    stage = progress.get("stage") or delivery["stage"] or "planned"
    total = progress.get("total_bytes")
    if progress.get("compared"):
        return f"{stage}, {progress['compared']} boxes of voxels compared"
    if not total:
        return str(stage)
    done = f"{stage}, {format_bytes(progress['done_bytes'])} of {format_bytes(total)}"
    rate, left_s = progress.get("bytes_per_s"), progress.get("left_s")
    if rate:
        done += f" at {format_bytes(rate)}/s"
    return f"{done}, {left_s:.0f} s left" if left_s else done
