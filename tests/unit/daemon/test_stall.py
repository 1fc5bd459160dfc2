"""A worker gets on as long as it reports, reads or writes anything."""

import os
import subprocess
import sys

from stackwatch.daemon.stall import StallWatch, stalled


def test_reports_and_bytes_are_signs_of_life():
    """C10: only a worker that neither reports nor moves a byte is silent."""
    script = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as echo:
        assert echo.stdin is not None
        assert echo.stdout is not None
        echo.stdin.write(b"ready\n")
        echo.stdin.flush()
        echo.stdout.readline()
        watch = StallWatch(echo.pid, 0.0)
        watch.silent_s(None, 0.0)

        assert 100.0 == watch.silent_s(None, 100.0)
        assert 0.0 == watch.silent_s({"steps": 1}, 200.0)
        assert 50.0 == watch.silent_s({"steps": 1}, 250.0)
        echo.stdin.write(b"more\n")
        echo.stdin.flush()
        echo.stdout.readline()
        assert 0.0 == watch.silent_s({"steps": 1}, 300.0)
        assert 0.0 == watch.silent_s({"steps": 1}, 400.0, is_waiting=True)
        assert 5.0 == watch.silent_s({"steps": 1}, 405.0)
        echo.stdin.close()


def test_what_children_read_is_a_sign_of_life():
    """A worker that waits for its children gets on as long as they do."""
    script = (
        "import subprocess\n"
        "child = subprocess.Popen(['cat'])\n"
        "print('up', flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.stdin.write(b"ready\n")
        parent.stdin.flush()
        parent.stdout.readline()
        watch = StallWatch(parent.pid, 0.0)
        watch.silent_s(None, 0.0)

        assert 50.0 == watch.silent_s(None, 50.0)
        parent.stdin.write(b"more\n")
        parent.stdin.flush()
        parent.stdout.readline()
        assert 0.0 == watch.silent_s(None, 100.0)
        parent.stdin.close()


def test_without_the_kernels_figures_reports_alone_count():
    """A sandbox may hide them: then a worker without reports is silent."""
    watch = StallWatch(2**22 + os.getpid(), 0.0)
    watch.silent_s(None, 0.0)

    assert 10.0 == watch.silent_s(None, 10.0)
    assert "stall_after_s" in stalled("The conversion", 1800).message
