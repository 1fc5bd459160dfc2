"""How fast, and how long still."""

from hypothesis import given
from hypothesis import strategies as st

from stackwatch.web.rates import WINDOW_S, Rate, RateMeter


def told(done: int, phase: str = "converting", total: int = 1000) -> dict[str, object]:
    """Return a report of a worker."""
    return {
        "phase": phase, "done": done, "total": total, "bytes_read": done * 100,
        "bytes_written": done * 50,
    }  # fmt: skip


def test_nothing_is_claimed_too_early():
    """Before there are two seconds of reports, nothing is said about the rest."""
    meter = RateMeter()

    assert Rate() == meter.note(0.0, None)
    assert Rate() == meter.note(1.0, told(1))
    assert Rate() == meter.note(2.0, told(900))


def test_a_phase_has_its_own_pace():
    """Slices of the conversion say nothing about how long the verification takes."""
    meter = RateMeter()
    for at_s in range(10):
        meter.note(float(at_s), told(at_s * 100))

    assert Rate() == meter.note(10.0, told(1, "verifying"))


def test_only_the_last_seconds_count():
    """After a change of pace, the rate is the new one when the window has passed."""
    meter = RateMeter()
    rate = Rate()
    for at_s in range(100):
        done = at_s * 10 if at_s < 50 else 500 + (at_s - 50)
        rate = meter.note(float(at_s), told(done))

    assert Rate(100.0, 50.0, 451.0) == rate
    assert WINDOW_S < 50


@given(steps=st.lists(st.tuples(st.floats(0.01, 60), st.integers(0, 50)), min_size=1, max_size=60))
def test_rates_are_never_negative_nor_without_end(steps: list[tuple[float, int]]):
    """Whatever the pace, rates and the rest are sensible numbers."""
    meter, at_s, done = RateMeter(), 0.0, 0
    for step_s, slices in steps:
        at_s, done = at_s + step_s, done + slices
        rate = meter.note(at_s, told(done, total=5000))
        assert rate.read_per_s >= 0
        assert rate.left_s is None or 0 <= rate.left_s < 1e9
