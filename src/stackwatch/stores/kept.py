"""What an attempt that is over has left in staging, and a later one may go on from.

Only conversions that are carried out range by range leave something: for each range that is
complete a receipt, which names its shards. Here nothing is believed yet, only found.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

RANGES_FOLDER: Final = "ranges"
"""In a staging directory: a folder for each order, with its receipts."""
_RECEIPT = re.compile(r"[0-9]+\.json")


def iter_receipts(staging: Path) -> Iterator[Path]:
    """Yield where the receipts in a staging directory lie; none where it cannot be read."""
    with suppress(OSError):
        for order in sorted((staging / RANGES_FOLDER).iterdir()):
            if order.is_dir():
                yield from (one for one in order.iterdir() if _RECEIPT.fullmatch(one.name))


def read_receipt_file(path: Path) -> dict[str, Any] | None:
    """Return a receipt; None if there is none, half of one, or one that cannot be read."""
    try:
        receipt = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return receipt if isinstance(receipt, dict) else None


def holds_receipts(staging: Path) -> bool:
    """Tell whether a later attempt could take something over."""
    return next(iter_receipts(staging), None) is not None


def kept_bytes(staging: Path) -> int:
    """Return about how much of the dataset lies in a staging directory: the shards with receipts.

    Those in a bucket count too: whoever asks, asks for room that is not needed again.
    """
    total = 0
    for path in iter_receipts(staging):
        with suppress(OSError, KeyError, TypeError):
            receipt = read_receipt_file(path) or {}
            total += sum(record["bytes"] for record in receipt["shards"])
    return total


def earlier_attempts(staging: Path) -> list[Path]:
    """Return the staging directories of attempts at the same conversion that hold receipts.

    Names are `<conversion>-<attempt>`. The one itself may be among them; the one with most
    receipts comes first.
    """
    conversion = staging.name.rpartition("-")[0]
    attempt = re.compile(re.escape(conversion) + "-[0-9]+")
    try:
        found = [
            path
            for path in staging.parent.iterdir()
            if attempt.fullmatch(path.name) and not path.is_symlink()
        ]
    except OSError:
        return []
    counts = {path: sum(1 for _ in iter_receipts(path)) for path in found}
    return sorted((path for path in found if counts[path]), key=lambda path: -counts[path])


def empty_folder(folder: Path, *, but: frozenset[str] = frozenset()) -> None:
    """Remove what lies in a folder, except what has one of these names.

    Raises
    ------
    OSError
        Something cannot be removed.
    """
    for path in folder.iterdir():
        if path.name in but:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
