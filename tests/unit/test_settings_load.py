"""Where settings come from, which layer wins, and how mistakes are told."""

import itertools
import os
import re
from pathlib import Path

import pytest

from stackwatch.errors import ConfigError, ExitCode
from stackwatch.settings import find_warnings, load_settings
from stackwatch.settings.layers import SYSTEM_FILE, find_settings_file
from stackwatch.watch.mounts import Mount

GOOD = """
[daemon]
workers = 2
[[folder]]
name = "em1"
path = "/drop/em1"
target = "/data/em1"
[[folder]]
name = "em-2"
path = "/drop/em2"
target = "/data/em2"
quiet_gap_s = 90
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration of two folders."""
    path = tmp_path / "config.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def problems_of(path: Path, environ: dict[str, str] | None = None, *assignments: str) -> list[str]:
    """Return what is wrong with a configuration; fail if nothing is."""
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ=environ or {}, assignments=assignments)
    assert ExitCode.CONFIG == caught.value.exit_code
    assert all(problem in caught.value.message for problem in caught.value.problems)
    return caught.value.problems


def write(path: Path, text: str) -> Path:
    """Write a file and return its path."""
    path.write_text(text, encoding="utf-8")
    return path


def test_each_layer_wins_over_the_one_below(config: Path):
    """Command line over environment over file over default, in every combination."""
    given = {"file": 2, "environment": 3, "command line": 4}
    for used in itertools.product([False, True], repeat=3):
        chosen = [name for name, is_used in zip(given, used, strict=True) if is_used]
        text = GOOD if "file" in chosen else GOOD.replace("workers = 2", "")
        environ = {"STACKWATCH_DAEMON__WORKERS": "3"} if "environment" in chosen else {}
        flags = ["daemon.workers=4"] if "command line" in chosen else []

        loaded = load_settings(write(config, text), environ=environ, assignments=flags)

        expected = given[chosen[-1]] if chosen else 1
        assert expected == loaded.settings.daemon.workers


def test_origins_name_file_variable_and_flag(config: Path):
    """Each value knows where it comes from; defaults are not listed."""
    loaded = load_settings(
        config,
        environ={"STACKWATCH_FOLDER__em1__QUIET_GAP_S": "120"},
        assignments=["folder.em-2.alpha=drop"],
    )

    assert str(config) == loaded.origins["daemon.workers"]
    assert loaded.origins["folder[0].quiet_gap_s"] == "STACKWATCH_FOLDER__em1__QUIET_GAP_S"
    assert loaded.origins["folder[1].alpha"] == "--set folder.em-2.alpha"
    assert "logs.level" not in loaded.origins
    assert [120.0, 90.0] == [folder.quiet_gap_s for folder in loaded.settings.folder]


def test_variables_address_folders_by_name(config: Path):
    """A variable can hold no hyphen: `em_2` means the folder `em-2`; lists and tables are TOML."""
    environ = {
        "STACKWATCH_FOLDER__EM_2__VOXEL_SIZE_NM": "{ z = 25 }",
        "STACKWATCH_FOLDER__em_2__IGNORE": '["a/*", "b"]',
        "STACKWATCH_FOLDER__em_2__LAYER": '[{ match = "x", category = "segmentation" }]',
        "STACKWATCH_FOLDER__em_2__DOWNSAMPLE": "false",
    }
    second = load_settings(config, environ=environ).settings.folder[1]

    assert second.voxel_size_nm is not None
    assert second.voxel_size_nm.z == 25
    assert second.ignore == ("a/*", "b")
    assert second.layer[0].match == "x"
    assert second.downsample is False


def test_all_problems_are_told_at_once(tmp_path: Path):
    """One run names every mistake with its key path, its value and what would be right."""
    path = write(
        tmp_path / "bad.toml",
        """
        [daemon]
        workers = 0
        memry_gib = 4
        [logs]
        level = "loud"
        [[folder]]
        name = "em1"
        path = "/drop/em1"
        target = "em1"
        quiet_gap_s = -5
        [[folder]]
        name = "em2"
        targt = "/data"
        path = "/drop/em2"
        """,
    )

    assert [
        "daemon.workers must be >= 1 (is 0)",
        "daemon.memry_gib is not a setting; did you mean memory_gib?",
        'logs.level must be "debug", "info", "warning" or "error" (is “loud”)',
        "folder[0].target must be an absolute path (is “em1”)",
        "folder[0].quiet_gap_s must be > 0 (is -5)",
        "folder[1].target is missing",
        "folder[1].targt is not a setting; did you mean target?",
    ] == problems_of(path)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("[daemon]\nquiet_gap_s = 1", "belongs under [[folder]]"),
        ("wrkers = 2", "did you mean workers under [daemon] or [cluster]?"),
        ("[deamon]\nworkers = 2", "deamon is not a setting; did you mean daemon?"),
        ("[folder]\nname = 'x'", "[[folder]], with two brackets"),
        ("daemon = 3", "daemon must be a table of settings (is 3)"),
        ("folder = [1]", "folder[0] must be a table of settings (is 1)"),
        ("[daemon]\nworkers = 1.5", "daemon.workers must be a whole number (is 1.5)"),
        ("[daemon]\nworkers = true", "daemon.workers must be a number (is true)"),
        ("[daemon]\nstate_dir = 3", "daemon.state_dir must be a path in quotes (is 3)"),
        ("[daemon]\nmemory_gib = inf", "daemon.memory_gib must be a finite number (is inf)"),
        (GOOD + "\n[[folder.layer]]\nmach = 'a'", "folder[1].layer[0].mach is not a setting"),
        (GOOD + "\nshard_vx = [16, 16, 16]", "folder[1].shard_vx must be at least chunk_vx (32)"),
        (
            GOOD + "\nformat = 'wkw'\ncodec = 'zstd'",
            "folder[1].codec must be one of auto, none, lz4",
        ),
        (
            GOOD + "\nformat = 'wkw'\nshard_vx = [64, 64, 32]",
            "folder[1].shard_vx must have three equal edges",
        ),
        (GOOD + "\nshard_vx = [64, 64, 33]", "folder[1].shard_vx[2] must be a power of two"),
        (GOOD + "\nvoxel_size_nm = '1,1,1'", "folder[1].voxel_size_nm must be [x, y, z]"),
        (GOOD + "\nshard_vx = 64", "folder[1].shard_vx must be [x, y, z] (is 64)"),
        ('[daemon]\nstate_dir = "/a\\u0000b"', "daemon.state_dir must be an absolute path"),
        (GOOD + "\nignore = 'x'", "folder[1].ignore must be a list (is “x”)"),
    ],
)
def test_mistakes_name_their_remedy(tmp_path: Path, text: str, phrase: str):
    """Each kind of mistake is told in words that say what would be right."""
    problems = problems_of(write(tmp_path / "bad.toml", text))

    assert any(phrase in problem for problem in problems), problems


def test_syntax_errors_have_line_and_column(tmp_path: Path):
    """What is no TOML is told with the place where it stops being TOML."""
    for text, place in (
        ("a = 1\n[x\n", "line 2, column 3"),
        ("a = ", "line 1, column 5"),
        ('a = 1\nb = "x', "line 2, column 7"),
        ("a = 1\na = 2", "line 2, column 6"),
    ):
        (problem,) = problems_of(write(tmp_path / "bad.toml", text))

        assert problem.startswith(place + ": "), (text, problem)


def test_bytes_that_are_no_text_have_line_and_column(tmp_path: Path):
    """A file in another encoding is refused with the place of the first such byte."""
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# fine\nname = '\xe4'\n")

    assert ["line 2, column 9: not UTF-8 (byte 0xe4)"] == problems_of(path)


def test_byte_order_mark_and_windows_lines_are_read(tmp_path: Path):
    """Files written by editors of other systems are read like any other."""
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())

    assert load_settings(path, environ={}).settings.daemon.workers == 2


@pytest.mark.parametrize(
    ("variable", "phrase"),
    [
        ("STACKWATCH_DEAMON__WORKERS", "did you mean STACKWATCH_DAEMON__WORKERS?"),
        ("STACKWATCH_DAEMON__WORKER", "did you mean STACKWATCH_DAEMON__WORKERS?"),
        ("STACKWATCH_FOLDER__em1__QUIET_GAP", "did you mean STACKWATCH_FOLDER__em1__QUIET_GAP_S?"),
        ("STACKWATCH_FOLDER__em9__QUIET_GAP_S", "no folder is named em9 (there are: em1, em-2)"),
        ("STACKWATCH_FOLDER", "is not a setting"),
        ("STACKWATCH_DAEMON__WORKERS__X", "is not a setting"),
        ("STACKWATCH_SAMPLE", "did you mean STACKWATCH_SAMPLES?"),
    ],
)
def test_unknown_variables_are_refused(config: Path, variable: str, phrase: str):
    """A misspelt variable is a mistake, not a setting without effect."""
    (problem,) = problems_of(config, {variable: "1"})

    assert phrase in problem


def test_variables_that_are_no_settings_are_left_alone(config: Path):
    """Variables of ours with another purpose, and of others, disturb nothing."""
    environ = {
        "STACKWATCH_SAMPLES": "/x", "STACKWATCH_FAILPOINT": "x", "STACKWATCH_CONFIG": "/nope",
        "STACKWATCH_WEBKNOSSOS_TOKEN": "x", "HOME": "/root",
    }  # fmt: skip

    assert load_settings(config, environ=environ).settings.daemon.workers == 2


def test_problems_from_elsewhere_name_their_origin(config: Path):
    """A bad value from the environment or the command line says where it was given."""
    assert [
        "--set daemon.workers: expected KEY=VALUE",
        "folder[0].ignore is no TOML value (is '[1', from --set folder.em1.ignore)",
        "daemon.threads must be a whole number (is “many”, from STACKWATCH_DAEMON__THREADS)",
    ] == problems_of(
        config, {"STACKWATCH_DAEMON__THREADS": "many"}, "daemon.workers", "folder.em1.ignore=[1"
    )


def test_the_file_is_found_by_flag_variable_then_system():
    """`--config` wins over STACKWATCH_CONFIG, which wins over the system's file."""
    environ = {"STACKWATCH_CONFIG": "/env.toml"}

    assert Path("/flag.toml") == find_settings_file(Path("/flag.toml"), environ)[0]
    assert Path("/env.toml") == find_settings_file(None, environ)[0]
    assert SYSTEM_FILE == find_settings_file(None, {})[0]


def test_a_file_that_somebody_named_must_exist(tmp_path: Path):
    """A missing file is a mistake, with a hint how to name one."""
    for flag, environ in (
        (tmp_path / "no.toml", {}),
        (None, {"STACKWATCH_CONFIG": str(tmp_path / "no.toml")}),
    ):
        with pytest.raises(ConfigError, match="no configuration file") as caught:
            load_settings(flag, environ=environ, is_file_needed=False)
        assert "--config" in caught.value.hint


def test_a_folder_as_file_is_told(tmp_path: Path):
    """What cannot be read as a file is reported with the reason of the system."""
    (problem,) = problems_of(tmp_path)

    assert problem == "the file cannot be read: Is a directory"


def test_what_may_not_be_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file or folder behind a closed door is reported, never taken for a bug of ours."""
    loaded = load_settings(write(tmp_path / "c.toml", GOOD), environ={})

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("stat", "is_dir", "read_bytes"):
        monkeypatch.setattr(Path, name, refuse)

    assert "is not there" in find_warnings(loaded.settings)[0]
    with pytest.raises(ConfigError, match="Permission denied"):
        load_settings(tmp_path / "c.toml", environ={})


@pytest.mark.parametrize(
    ("first", "second", "phrase"),
    [
        ("path='{t}/a'\ntarget='{t}/a/out'", "", "folder[0].target must not lie inside folder[0]"),
        ("path='{t}/a'\ntarget='{t}/a'", "", "folder[0].target must not lie inside folder[0]"),
        ("path='{t}/d/a'\ntarget='{t}/d'", "", "folder[0].path must not lie inside folder[0].tar"),
        (
            "path='{t}/a'\ntarget='{t}/o'",
            "path='{t}/b'\ntarget='{t}/a/x'",
            "folder[1].target must not lie inside folder[0].path",
        ),
        (
            "path='{t}/a'\ntarget='{t}/o'",
            "path='{t}/link/x'\ntarget='{t}/o'",
            "folder[1].path must not lie inside folder[0].path",
        ),
        (
            "path='{t}/a'\ntarget='{t}/o'",
            "path='{t}/link'\ntarget='{t}/o'",
            "folder[1].path must differ from folder[0].path",
        ),
        ("path='{t}/a'\ntarget='{t}/link/o'", "", "folder[0].target must not lie inside"),
    ],
)
def test_places_must_not_meet(tmp_path: Path, first: str, second: str, phrase: str):
    """What is written never lies under what is watched, links resolved, nor the other way round."""
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    text = f"[[folder]]\nname='one'\n{first}\n"
    if second:
        text += f"[[folder]]\nname='two'\n{second}\n"

    problems = problems_of(write(tmp_path / "c.toml", text.replace("{t}", str(tmp_path))))

    assert any(problem.startswith(phrase) for problem in problems), problems


def test_state_and_log_stay_out_of_drop_folders(tmp_path: Path):
    """The ledger or the log in a drop folder would be taken for an acquisition."""
    problems = problems_of(
        write(
            tmp_path / "c.toml",
            "[daemon]\nstate_dir='/drop/em1/state'\n[logs]\nfile='/drop/em1/x.log'\n"
            "[[folder]]\nname='em1'\npath='/drop/em1'\ntarget='/data'",
        )
    )

    assert ["daemon.state_dir", "logs.file"] == [problem.split()[0] for problem in problems]


def test_neighbours_with_like_names_do_not_clash(tmp_path: Path):
    """`/data/em1-out` does not lie in `/data/em1`."""
    text = "[[folder]]\nname='em1'\npath='/data/em1'\ntarget='/data/em1-out'"

    assert len(load_settings(write(tmp_path / "c.toml", text), environ={}).settings.folder) == 1


def test_folder_names_are_unique(config: Path):
    """Two folders of one name, or of names that look alike in a variable, are refused."""
    (problem,) = problems_of(write(config, GOOD.replace('"em-2"', '"EM1"')))

    assert problem == "folder[1].name must differ from folder[0].name (is “EM1”)"


def test_warnings_are_no_mistakes(tmp_path: Path):
    """A drop folder that is not there and a short quiet gap are told, but accepted."""
    text = f"""
    [[folder]]
    name = "em1"
    path = "{tmp_path}/missing"
    target = "{tmp_path}/out"
    quiet_gap_s = 5
    """
    missing, short = find_warnings(load_settings(write(tmp_path / "c.toml", text)).settings)

    assert "is not there" in missing
    assert "quiet_gap_s = 5 is shorter than 60" in short


def test_a_short_gap_depends_on_the_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a network share even two minutes are short."""
    text = f"""
    [[folder]]
    name = "em1"
    path = "{tmp_path}"
    target = "/data/out"
    quiet_gap_s = 120
    """
    settings = load_settings(write(tmp_path / "c.toml", text), environ={}).settings
    assert find_warnings(settings) == []
    share = Mount("/mnt", "nfs4", "server:/share")
    monkeypatch.setattr("stackwatch.settings.survey.locate_mount", lambda path, mounts: share)

    (short,) = find_warnings(settings)
    assert "quiet_gap_s = 120 is shorter than 300" in short


def test_nothing_to_watch_is_a_warning(tmp_path: Path):
    """A configuration without folders is accepted and said to watch nothing."""
    loaded = load_settings(write(tmp_path / "empty.toml", ""), environ={})

    assert "nothing will be watched" in find_warnings(loaded.settings)[0]


def test_the_environment_is_read_when_asked(config: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing is read at import: a variable set later counts."""
    monkeypatch.setenv("STACKWATCH_DAEMON__WORKERS", "7")

    assert load_settings(config).settings.daemon.workers == 7


def test_a_system_without_a_file_has_defaults():
    """Commands that only read get along without a file."""
    if os.path.lexists(SYSTEM_FILE):
        pytest.skip("this machine has a configuration of its own")
    loaded = load_settings(environ={}, is_file_needed=False)

    assert loaded.path is None
    assert Path("/var/lib/stackwatch") == loaded.settings.daemon.state_dir
    with pytest.raises(ConfigError, match=re.escape(str(SYSTEM_FILE))):
        load_settings(environ={})
