"""A share that hangs: every call that touches it waits, and the daemon goes on."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stackwatch.testing.service import STAND_IN, ServiceBench

SHIM = r"""
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Calls with a path below HANG_BELOW wait as long as the file HANG_WHILE is there. */
static void wait_if_it_hangs(const char *path) {
    const char *below = getenv("HANG_BELOW"), *flag = getenv("HANG_WHILE");
    if (!path || !below || !flag || strncmp(path, below, strlen(below))) return;
    while (!syscall(SYS_access, flag, F_OK)) usleep(20000);
}
#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

int stat(const char *p, struct stat *b) { REAL(stat); wait_if_it_hangs(p); return real(p, b); }
int lstat(const char *p, struct stat *b) { REAL(lstat); wait_if_it_hangs(p); return real(p, b); }
int stat64(const char *p, struct stat64 *b) {
    REAL(stat64); wait_if_it_hangs(p); return real(p, b);
}
int lstat64(const char *p, struct stat64 *b) {
    REAL(lstat64); wait_if_it_hangs(p); return real(p, b);
}
int fstatat(int d, const char *p, struct stat *b, int f) {
    REAL(fstatat); wait_if_it_hangs(p); return real(d, p, b, f);
}
int fstatat64(int d, const char *p, struct stat64 *b, int f) {
    REAL(fstatat64); wait_if_it_hangs(p); return real(d, p, b, f);
}
DIR *opendir(const char *p) { REAL(opendir); wait_if_it_hangs(p); return real(p); }
int inotify_add_watch(int fd, const char *p, uint32_t m) {
    static int (*real)(int, const char *, uint32_t);
    if (!real) real = dlsym(RTLD_NEXT, "inotify_add_watch");
    wait_if_it_hangs(p);
    return real(fd, p, m);
}
#define OPEN(name) int name(const char *p, int f, ...) { \
    va_list rest; va_start(rest, f); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
    static int (*real)(const char *, int, ...); if (!real) real = dlsym(RTLD_NEXT, #name); \
    wait_if_it_hangs(p); return real(p, f, mode); }
OPEN(open) OPEN(open64)
#define OPENAT(name) int name(int d, const char *p, int f, ...) { \
    va_list rest; va_start(rest, f); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
    static int (*real)(int, const char *, int, ...); if (!real) real = dlsym(RTLD_NEXT, #name); \
    wait_if_it_hangs(p); return real(d, p, f, mode); }
OPENAT(openat) OPENAT(openat64)
"""

START = (
    "import sys; from pathlib import Path; from stackwatch.testing.service import serve;"
    "config, worker, log = map(Path, sys.argv[1:]); serve(config, (worker, None), log, None, {})"
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that lets calls below one folder hang."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler to build what makes a folder hang")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "hang.c").write_text(SHIM, encoding="utf-8")
    built = subprocess.run(
        [compiler, "-shared", "-fPIC", "-w", "-o", folder / "hang.so", folder / "hang.c", "-ldl"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if built.returncode:
        pytest.skip(f"the C compiler cannot build what makes a folder hang: {built.stderr}")
    return folder / "hang.so"


class HangingBench(ServiceBench):
    """A daemon with two drop folders, of which the first hangs while a file `hang` is there."""

    def __init__(self, root: Path, shim: Path, path: str = "drop") -> None:
        self.other = root / "other"
        self.other.mkdir()
        self._shim = shim
        folder = (
            "scan_interval_s = 0.3\n"
            f'[[folder]]\nname = "other"\npath = "{self.other}"\ntarget = "{root}/target"\n'
            "quiet_gap_s = 0.2\nscan_interval_s = 0.3\nvoxel_size_nm = [1, 1, 1]"
        )
        super().__init__(root, folder=folder, daemon="scan_deadline_s = 1")
        text = self.config.read_text(encoding="utf-8")
        self.config.write_text(text.replace(f'path = "{self.drop}"', f'path = "{root / path}"'))

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the daemon with the library in it and in all its children."""
        environment = {
            **os.environ,
            "LD_PRELOAD": str(self._shim),
            "HANG_BELOW": str(self.drop),
            "HANG_WHILE": str(self.root / "hang"),
        }
        arguments = [str(self.config), str(STAND_IN), str(self.root / "log.jsonl")]
        daemon = subprocess.Popen([sys.executable, "-c", START, *arguments], env=environment)
        try:
            self.wait_until(lambda: self.status() is not None)
            yield daemon
        finally:
            (self.root / "hang").unlink(missing_ok=True)
            daemon.kill()
            daemon.wait()

    def hang(self) -> None:
        """Let the first folder hang from now on."""
        (self.root / "hang").touch()

    def answer(self) -> None:
        """Let it answer again."""
        (self.root / "hang").unlink()

    def states(self) -> dict[str, str]:
        """Return how the folders are doing."""
        return {found["name"]: found["state"] for found in self.ask("status")["folders"]}


def drop(folder: Path, name: str) -> None:
    """Put an acquisition into a folder."""
    (folder / name).mkdir()
    (folder / name / "a.tif").write_bytes(name.encode())


def is_unavailable(bench: HangingBench) -> Callable[[], bool]:
    """Return what tells whether the hanging folder was given up."""
    return lambda: bench.states()["em"] == "unavailable"


def test_a_folder_that_hangs_stops_nobody(tmp_path, shim):
    """C9: while a folder hangs the other goes on; it recovers by itself; SIGTERM ends it all."""
    bench = HangingBench(tmp_path, shim)
    with bench.serving() as daemon:
        drop(bench.drop, "before")
        bench.wait_until(lambda: "before" in bench.datasets())
        bench.hang()
        bench.wait_until(is_unavailable(bench))
        drop(bench.other, "meanwhile")
        drop(bench.drop, "late")
        bench.wait_until(lambda: "meanwhile" in bench.datasets())
        assert {"em": "unavailable", "other": "healthy"} == bench.states()
        assert "late" not in bench.datasets()
        bench.answer()
        bench.wait_until(lambda: "late" in bench.datasets())
        bench.hang()
        bench.wait_until(is_unavailable(bench))
        daemon.send_signal(signal.SIGTERM)

        assert 0 == daemon.wait(20)
    assert [] == bench.events("acquisition.vanished")
    assert "did not answer within 1 s" in bench.events("folder.unavailable")[0]["reason"]


@pytest.mark.system
def test_a_folder_that_hangs_from_the_start(tmp_path, shim):
    """C9: a daemon that starts while a folder hangs watches the other, and takes it up later."""
    bench = HangingBench(tmp_path, shim)
    drop(bench.drop, "waiting")
    bench.hang()
    with bench.serving():
        drop(bench.other, "meanwhile")
        bench.wait_until(lambda: "meanwhile" in bench.datasets())
        bench.wait_until(is_unavailable(bench))
        bench.answer()
        bench.wait_until(lambda: "waiting" in bench.datasets())
        bench.wait_until(lambda: {"em": "healthy", "other": "healthy"} == bench.states())


@pytest.mark.system
def test_a_symlink_to_a_folder_that_hangs(tmp_path, shim):
    """C9: a drop folder that is a symlink to what hangs holds nobody up either."""
    bench = HangingBench(tmp_path, shim, "link")
    (tmp_path / "link").symlink_to(bench.drop)
    with bench.serving() as daemon:
        bench.wait_until(lambda: {"em": "healthy", "other": "healthy"} == bench.states())
        bench.hang()
        drop(bench.other, "meanwhile")
        bench.wait_until(lambda: "meanwhile" in bench.datasets())
        daemon.send_signal(signal.SIGTERM)

        assert 0 == daemon.wait(20)
