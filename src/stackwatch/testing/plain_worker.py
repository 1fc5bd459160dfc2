"""The real worker on a file system that can rename, but knows no flags: NFS, and others.

There two datasets cannot change places at once, and a replacement takes two renames.
"""

import errno
import sys
from pathlib import Path

from stackwatch.daemon.worker_main import main
from stackwatch.stores import publish


def _no_flags(source: Path, target: Path, flags: int) -> int:
    return errno.EINVAL


if __name__ == "__main__":
    publish._renameat2 = _no_flags
    sys.exit(main())
