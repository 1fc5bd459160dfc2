"""The inotify limit: directories are counted beforehand."""

import pytest

from stackwatch.watch.inotify import (
    count_directories,
    count_watches,
    find_shortage,
    read_watch_limit,
)


def test_count_directories_counts_the_root_and_all_below(tmp_path):
    """Each directory needs a watch, the root too; symlinks are not followed."""
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "d").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path)

    assert 5 == count_directories(tmp_path, 100)


def test_count_directories_stops(tmp_path):
    """A huge tree is not walked to its end."""
    for number in range(10):
        (tmp_path / str(number)).mkdir()

    assert 4 == count_directories(tmp_path, 4)


def test_read_watch_limit_takes_the_smaller(tmp_path):
    """The limit of the user namespace counts where it is smaller."""
    (tmp_path / "a").write_text("100\n")
    (tmp_path / "b").write_text("10\n")
    (tmp_path / "c").write_text("nonsense\n")

    assert 10 == read_watch_limit([tmp_path / name for name in "abcd"])


def test_read_watch_limit_unknown(tmp_path):
    """Where /proc is hidden the limit is unknown."""
    assert None is read_watch_limit([tmp_path / "absent"])


def test_count_watches_reads_fdinfo(tmp_path):
    """The watches of all inotify descriptors of the process are added up."""
    (tmp_path / "3").write_text("pos:\t0\ninotify wd:1 ino:2\ninotify wd:2 ino:3\n")
    (tmp_path / "4").write_text("pos:\t0\n")
    (tmp_path / "5").write_text("inotify wd:1 ino:9\n")
    (tmp_path / "6").mkdir()

    assert (3, 0) == (count_watches(tmp_path), count_watches(tmp_path / "absent"))


@pytest.mark.parametrize(("limit", "is_short"), [(4, True), (5, False), (1000, False)])
def test_find_shortage_names_the_setting(tmp_path, limit, is_short):
    """Too many directories for the limit give a reason that names the sysctl; enough give none."""
    (tmp_path / "a/b/c/d").mkdir(parents=True)

    reason = find_shortage(tmp_path, limit + count_watches())

    assert is_short == bool(reason)
    assert is_short == ("fs.inotify.max_user_watches" in reason)
