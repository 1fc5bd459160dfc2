"""What every child process of the daemon does first: live and die with it.

Only the standard library is imported: the scan process must stay small.
"""

import ctypes
import faulthandler
import os
import signal
import socket
from pathlib import Path

from stackwatch.daemon.channel import Channel

OOM_SCORE_ADJ = 500
"""Short of memory, the kernel shall end a child, whose work is tried again, not the watcher."""

PR_SET_PDEATHSIG = 1


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    The parent's main thread starts all children, so this is the end of the parent. The second
    look closes the gap in which the parent died before we asked.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(1)


def offer_to_oom_killer() -> None:
    """Make this process the first choice when memory runs out."""
    try:
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE_ADJ), encoding="ascii")
    except OSError:
        return  # a container may forbid it; then the kernel chooses by size alone


def connect_to_daemon(arguments: list[str]) -> Channel:
    """Return the channel to the daemon that started this process.

    Parameters
    ----------
    arguments : list of str
        Number of the inherited socket, and the daemon's process id.
    """
    descriptor, parent_pid = int(arguments[0]), int(arguments[1])
    die_with(parent_pid)
    offer_to_oom_killer()
    faulthandler.enable()
    return Channel(socket.socket(fileno=descriptor))
