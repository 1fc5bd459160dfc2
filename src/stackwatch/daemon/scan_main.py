"""The scan process: looks at drop folders, so that a share that hangs does not hang the daemon.

It imports the standard library, `model`, `watch` and the few modules of `layout` that need nothing
else, reads markers and sidecars but no image, and may be killed at any moment.
"""

import sys
from pathlib import Path
from typing import Any

from stackwatch.daemon.channel import Channel
from stackwatch.daemon.child import connect_to_daemon
from stackwatch.daemon.scan_memory import ScanTeller
from stackwatch.daemon.wire import dump_record, load_record
from stackwatch.watch.mounts import MountIdentity
from stackwatch.watch.scan import FolderUnavailable, ScanOptions, scan_folder


def serve(channel: Channel) -> None:
    """Scan what the daemon asks for, one folder after another, until it is gone."""
    teller = ScanTeller()
    for message in channel.iter_messages():
        try:
            channel.send(_scan(message, teller))
        except OSError:
            return


def _scan(message: dict[str, Any], teller: ScanTeller) -> dict[str, Any]:
    """Return the answer to one request."""
    expected, keys = message["expected"], message["keys"]
    found = scan_folder(
        Path(message["path"]),
        load_record(ScanOptions, message["options"]),
        MountIdentity.from_record(expected) if expected is not None else None,
        frozenset(keys) if keys is not None else None,
        is_probing=message["is_probing"],
    )
    if isinstance(found, FolderUnavailable):
        return {"kind": "unavailable", "folder": message["folder"], "found": dump_record(found)}
    return teller.tell(message["folder"], message["base"], found)


def main() -> int:
    """Serve the daemon that started us."""
    serve(connect_to_daemon(sys.argv[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
