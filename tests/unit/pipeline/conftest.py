"""A journal that lets a test do something in the middle of a conversion."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from stackwatch.model.result import Progress
from stackwatch.pipeline.journal import PublishFact


@dataclass
class Interference:
    """A journal that acts once when a phase begins, or when so many slices were read.

    Attributes
    ----------
    on_phase : mapping of phase to callable
    on_slice : mapping of a number of slices to callable
    on_fact : mapping of stage to callable
        May raise: the fact is refused.
    facts : list of PublishFact
        What was recorded.
    """

    on_phase: dict[str, Callable[[], object]] = field(default_factory=dict)
    on_slice: dict[int, Callable[[], object]] = field(default_factory=dict)
    on_fact: dict[str, Callable[[PublishFact], object]] = field(default_factory=dict)
    facts: list[PublishFact] = field(default_factory=list)
    reports: list[Progress] = field(default_factory=list)

    def progress(self, progress: Progress) -> None:
        """Act if this is the moment."""
        self.reports.append(progress)
        if action := self.on_phase.pop(progress.phase, None):
            action()
        if action := self.on_slice.pop(progress.done, None):
            action()

    def record(self, fact: PublishFact) -> None:
        """Act, perhaps refuse, and remember."""
        if action := self.on_fact.get(fact.stage):
            action(fact)
        self.facts.append(fact)


@pytest.fixture
def interference() -> Interference:
    """Return a journal in which nothing is planned yet."""
    return Interference()
