"""Settling: the state machine, second by second."""

import pytest

from stackwatch.model.facts import AcquisitionKind, Sighting, Veto, VetoKind
from stackwatch.watch.settle import (
    Observation,
    Phase,
    SettleEvent,
    SettleOptions,
    SettleState,
    interrupt,
    observe,
)

OPTIONS = SettleOptions(quiet_gap_s=60, incomplete_after_h=1)
A, B = Observation("a", 3), Observation("b", 3)
EMPTY = Observation("none", 0)
VETOED = Observation("a", 3, (Veto(VetoKind.UNREADABLE, "1 of its folders cannot be listed"),))


def play(*steps: tuple[float, Observation | None]) -> tuple[SettleState | None, list[list[str]]]:
    """Observe step after step; return the last state and the events of each step."""
    state: SettleState | None = None
    told = []
    for now_s, observation in steps:
        state, events = observe(state, observation, now_s, OPTIONS)
        told.append([str(event) for event in events])
    return state, told


def test_observe_settles_after_the_gap():
    """The same mark in two scans a gap apart settles, once."""
    state, told = play((0, A), (59, A), (60, A), (300, A))

    assert [["appeared"], [], ["settled"], []] == told
    assert state is not None
    assert (Phase.SETTLED, None) == (state.phase, state.due_s)


def test_observe_first_look_never_settles():
    """One look says nothing, however old the files are: an old mtime is no proof."""
    assert [["appeared"]] == play((1e9, A))[1]


def test_observe_starts_the_gap_anew_with_each_change():
    """A writer that goes on within the gap keeps its acquisition settling."""
    _, told = play((0, A), (50, B), (100, A), (150, B), (209, B), (210, B))

    assert ["settled"] == told[-1]
    assert [[], ["changed"], ["changed"], ["changed"], []] == [[], *told[1:-1]]


def test_observe_change_back_counts_as_change():
    """A mark that returns after another one has not been seen all the time."""
    _, told = play((0, A), (30, B), (61, A), (120, A), (121, A))

    assert [["appeared"], ["changed"], ["changed"], [], ["settled"]] == told


def test_observe_change_after_settling():
    """A change after the rest ends it, and the next rest is told again."""
    state, told = play((0, A), (60, A), (100, B), (160, B))

    assert [["appeared"], ["settled"], ["changed"], ["settled"]] == told
    assert state is not None
    assert "b" == state.stat_mark


def test_observe_measures_from_the_scans_end_to_the_next_ones_beginning():
    """A scan that takes long looked at some files early: its duration does not count as quiet."""
    state, _ = observe(None, A, 10, OPTIONS, scan_seconds=10)
    early, events = observe(state, A, 79, OPTIONS, scan_seconds=10)
    late, more = observe(early, A, 80, OPTIONS, scan_seconds=10)

    assert ((), (SettleEvent.SETTLED,)) == (events, more)
    assert late is not None
    assert Phase.SETTLED is late.phase


@pytest.mark.parametrize("now_s", [60, 3600, 1e7])
def test_observe_empty_never_settles_nor_complains(now_s):
    """An empty folder, or one with ignored files only, waits for ever without a word."""
    state, told = play((0, EMPTY), (now_s, EMPTY))

    assert [["appeared"], []] == told
    assert state is not None
    assert (Phase.EMPTY, None) == (state.phase, state.due_s)


def test_observe_first_file_starts_the_clocks():
    """Gap and ceiling begin with the first file, not with the folder."""
    state, told = play((0, EMPTY), (5000, A), (5059, A), (5060, A))

    assert [["appeared"], ["changed"], [], ["settled"]] == told
    assert state is not None
    assert 5000 == state.restless_since_s


def test_observe_emptied_starts_over():
    """An acquisition whose files are taken away is empty, and settles anew when they return."""
    _, told = play((0, A), (60, A), (70, EMPTY), (80, A), (139, A), (140, A))

    assert [["appeared"], ["settled"], [], ["changed"], [], ["settled"]] == told


def test_observe_veto_holds_back():
    """A veto keeps an acquisition from settling, and lifting it begins the gap."""
    _, told = play((0, VETOED), (60, VETOED), (120, VETOED), (130, A), (189, A), (190, A))

    assert [["appeared"], [], [], [], [], ["settled"]] == told


def test_observe_veto_after_settling_unsettles():
    """A veto that appears later ends the rest without a change of the mark."""
    state, told = play((0, A), (60, A), (70, VETOED))

    assert [] == told[-1]
    assert state is not None
    assert Phase.SETTLING is state.phase


def test_observe_ceiling_is_told_once_and_settling_goes_on():
    """What still changes after the ceiling is incomplete, and settles when it stops."""
    steps: list[tuple[float, Observation | None]] = [
        (at_s, A if at_s % 100 else B) for at_s in range(0, 3601, 50)
    ]
    state, told = play(*steps)
    rest, more = play(*steps, (3660, B))

    assert [["changed", "incomplete"]] == told[-1:]
    assert sum(event == "incomplete" for events in told for event in events) == 1
    assert state is not None
    assert Phase.INCOMPLETE is state.phase
    assert ["settled"] == more[-1]
    assert rest is not None
    assert Phase.SETTLED is rest.phase


def test_observe_incomplete_keeps_changing_silently():
    """Changes after the ceiling are told as changes, never as incomplete again."""
    steps: list[tuple[float, Observation | None]] = [
        (at_s, A if at_s % 100 else B) for at_s in range(0, 9001, 50)
    ]

    assert sum(event == "incomplete" for events in play(*steps)[1] for event in events) == 1


def test_observe_vetoed_becomes_incomplete():
    """An acquisition with an unreadable folder is reported after the ceiling."""
    _, told = play((0, VETOED), (3599, VETOED), (3600, VETOED))

    assert [["appeared"], [], ["incomplete"]] == told


def test_observe_gap_beats_ceiling():
    """What settles exactly when the ceiling falls has settled."""
    _, told = play((0, B), (3540, A), (3600, A))

    assert ["settled"] == told[-1]


def test_observe_vanished():
    """What is not found is forgotten and told once."""
    assert (None, [["appeared"], ["vanished"], []]) == play((0, A), (1, None), (2, None))


@pytest.mark.parametrize(
    ("steps", "due_s"),
    [
        ([(0, A)], 60),
        ([(0, A), (50, B)], 110),
        ([(0, A), (60, A)], None),
        ([(0, EMPTY)], None),
        ([(0, VETOED)], 60),
        ([(0, A), (3570, B)], 3600),
        ([(0, A), (3600, B)], 3660),
        ([(0, VETOED), (3600, VETOED)], 4200),
    ],
)
def test_observe_says_when_to_look_next(steps, due_s):
    """The next look is worth while when the gap ends, or the ceiling; otherwise none is asked."""
    state, _ = play(*steps)

    assert state is not None
    assert due_s == state.due_s


def test_interrupt_begins_the_gap_anew():
    """While nobody could look, nothing was quiet."""
    state, _ = play((0, A), (59, A))
    assert state is not None
    again, events = observe(interrupt(state, 1000), A, 1059, OPTIONS)
    settled, more = observe(again, A, 1060, OPTIONS)

    assert ((), (SettleEvent.SETTLED,)) == (events, more)
    assert settled is not None


@pytest.mark.parametrize("steps", [[(0, A), (60, A)], [(0, EMPTY)]])
def test_interrupt_leaves_the_settled_and_the_empty(steps):
    """What has settled stays so."""
    state, _ = play(*steps)
    assert state is not None

    assert state == interrupt(state, 1000)


def test_observation_from_sighting_vetoes_the_unreadable():
    """A sighting with an unreadable folder carries a veto that names it."""
    seen = Sighting("k", "k", AcquisitionKind.FOLDER, "k", (), 1, 1, 0, "m", "s", unreadable=2)

    veto = Veto(VetoKind.UNREADABLE, "2 of its folders cannot be listed")
    assert Observation("m", 1, (veto,)) == Observation.from_sighting(seen)


# ---------------------------------------------------------------- vetoes and probes


def saw(mark: str, *kinds: VetoKind, is_probed: bool = True) -> Observation:
    """Return an observation with these vetoes."""
    return Observation(mark, 3, tuple(Veto(kind, str(kind)) for kind in kinds), is_probed)


LISTED = saw("a", is_probed=False)
OPEN = saw("a", VetoKind.OPEN)
HOLE = saw("a", VetoKind.HOLE)
EMPTY_FILE = saw("a", VetoKind.EMPTY_FILE, is_probed=False)


def test_a_listing_alone_never_settles():
    """What only a probe can see is not known from a listing: it is due, and stays unsettled."""
    state, told = play((0, LISTED), (60, LISTED), (600, LISTED))
    settled, more = play((0, LISTED), (60, LISTED), (60, A))

    assert [["appeared"], [], []] == told
    assert state is not None
    assert (Phase.SETTLING, 60) == (state.phase, state.due_s)
    assert ["settled"] == more[-1]
    assert settled is not None


def test_a_slow_writer_is_not_taken_up_at_half():
    """E1: a pause longer than the gap is no end while the program holds the file open."""
    _, told = play((0, OPEN), (60, OPEN), (180, OPEN), (240, saw("b")), (300, saw("b")))

    assert [["appeared"], [], [], ["changed"], ["settled"]] == told


def test_a_listing_lifts_nothing_a_probe_found():
    """E8: an ordinary scan sees no open file; that does not mean that it is closed."""
    state, told = play((0, OPEN), (50, LISTED), (110, LISTED), (115, OPEN), (120, LISTED))

    assert [["appeared"], [], [], [], []] == told
    assert state is not None
    assert (Phase.SETTLING, True, 175) == (state.phase, state.is_held_back, state.due_s)


def test_a_lifted_veto_begins_the_gap():
    """E10: once the marker is true the mark has to be the same for the whole gap, no less."""
    marker = saw("a", VetoKind.MARKER, is_probed=False)
    _, told = play((0, marker), (600, marker), (610, LISTED), (669, A), (670, A))

    assert [["appeared"], [], [], [], ["settled"]] == told


@pytest.mark.parametrize("first", [HOLE, EMPTY_FILE])
def test_a_lapsing_veto_holds_for_ten_gaps(first):
    """E2, E13: a sparse file or an empty one that may be meant so is taken up in the end."""
    state, told = play((0, first), (60, HOLE), (599, HOLE))
    _, more = play((0, first), (60, HOLE), (599, HOLE), (600, HOLE), (700, EMPTY_FILE))

    assert [["appeared"], [], []] == told
    assert state is not None
    assert 600 == state.due_s
    assert [["settled"], []] == more[-2:]


def test_a_filled_hole_does_not_wait_so_long():
    """E2: filling the file changes its mark, and from then on one gap is enough."""
    _, told = play((0, HOLE), (60, HOLE), (100, saw("b")), (160, saw("b")))

    assert ["settled"] == told[-1]


def test_an_abort_is_reported_at_once():
    """A marker that tells of an abort needs no ceiling: it is told, never settled, and watched."""
    aborted = saw("a", VetoKind.ABORTED)
    state, told = play((0, LISTED), (60, aborted), (660, aborted), (9000, aborted))

    assert [["appeared"], ["incomplete"], [], []] == told
    assert state is not None
    assert (Phase.INCOMPLETE, 9600) == (state.phase, state.due_s)


def test_the_last_file_never_arrives():
    """L16: after the ceiling it is reported once with its veto, and settles when the file comes."""
    count = saw("a", VetoKind.COUNT, is_probed=False)
    state, told = play((0, count), (3600, count), (7200, count))
    _, more = play((0, count), (3600, count), (9000, saw("b")), (9060, saw("b")))

    assert [["appeared"], ["incomplete"], []] == told
    assert state is not None
    assert [VetoKind.COUNT] == [veto.kind for veto in state.vetoes]
    assert [["changed"], ["settled"]] == more[-2:]


@pytest.mark.parametrize("mtime_ns", [0, 1_000_000_000, 2**62])
def test_the_times_of_files_say_nothing(mtime_ns):
    """E4, E5, D12: a date of 2001 or of the next century neither settles nor delays anything."""
    seen = Sighting("k", "k", AcquisitionKind.FOLDER, "k", (), 1, 1, mtime_ns, "a", "s")
    state, _ = observe(None, Observation.from_sighting(seen), 0, OPTIONS)
    early, none = observe(state, Observation.from_sighting(seen), 59, OPTIONS)
    _, settled = observe(early, Observation.from_sighting(seen), 60, OPTIONS)

    assert ((), (SettleEvent.SETTLED,)) == (none, settled)


def test_what_a_person_accepts():
    """L16: accepting overrules what waits for more, not what is open or unreadable, nor changes."""
    kinds = (VetoKind.COUNT, VetoKind.ABORTED, VetoKind.TEMPORARY, VetoKind.HOLE, VetoKind.OPEN)
    vetoes = tuple(Veto(kind, "") for kind in kinds)
    seen = Sighting(
        "k", "k", AcquisitionKind.FOLDER, "k", (), 1, 1, 0, "m", "s", unreadable=1, vetoes=vetoes
    )
    accepted = Observation.from_sighting(seen, "m")
    other = Observation.from_sighting(seen, "an older mark")

    assert [VetoKind.UNREADABLE, VetoKind.OPEN] == [veto.kind for veto in accepted.vetoes]
    assert [VetoKind.UNREADABLE, *kinds] == [veto.kind for veto in other.vetoes]


def test_what_rests_needs_no_probe():
    """A restart does not open the files of everything that was ever converted."""
    seen = Sighting("k", "k", AcquisitionKind.FOLDER, "k", (), 1, 1, 0, "m", "s", is_probed=False)

    assert not Observation.from_sighting(seen).is_probed
    assert Observation.from_sighting(seen, is_at_rest=True).is_probed
