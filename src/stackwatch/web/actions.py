"""What somebody may do who has signed in: retry, deliver again, accept as it is, forget."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from stackwatch.ledger.browsing import AcquisitionRow
from stackwatch.ledger.records import Job
from stackwatch.model.delivery import DeliveryState
from stackwatch.model.job import AcquisitionState, JobState
from stackwatch.web.markup import NOTHING, Markup, markup, tag
from stackwatch.web.sessions import Session
from stackwatch.web.view import View

RETRIED: Final = (JobState.PARKED, JobState.FAILED, JobState.WAITING)
REDELIVERED: Final = (DeliveryState.PARKED, DeliveryState.PAUSED)
ACCEPTED: Final = (AcquisitionState.SETTLING, AcquisitionState.INCOMPLETE)
FORGOTTEN: Final = (
    AcquisitionState.SETTLING,
    AcquisitionState.INCOMPLETE,
    AcquisitionState.QUEUED,
    AcquisitionState.WAITING,
    AcquisitionState.PARKED,
)


@dataclass(frozen=True, slots=True)
class _Action:
    """A deed, the number of what it is done to, the words on its button and beside it."""

    deed: str
    number: int
    label: str
    meaning: str


def action_forms(view: View, found: AcquisitionRow, job: Job | None) -> Markup:
    """Return a form for each action; a link to sign in where nobody has; empty without actions."""
    actions = list(_iter_actions(view, found, job)) if view.options.has_actions else []
    if not actions:
        return NOTHING
    place = _place_of(found, job)
    if view.session is None:
        return tag("p", tag("a", "Sign in to act", href=f"/sign-in?next={place}"), class_="actions")
    forms = [_form(view.session, action, place) for action in actions]
    return tag("div", forms, class_="actions")


def _iter_actions(view: View, found: AcquisitionRow, job: Job | None) -> Iterator[_Action]:
    """Yield what can be done about an acquisition, its job if that is the newest, deliveries."""
    one = found.acquisition
    is_there = one.vanished_at_us is None
    is_newest = job is not None and job.generation == one.generation
    if job is not None and is_newest and job.state in RETRIED:
        yield _Action("retry", job.job_id, "Retry now", "Queue the job again.")
    for delivery in view.browser.deliveries_of(job.job_id) if job is not None else ():
        if delivery.state in REDELIVERED and delivery.is_current:
            meaning = f"Ask WEBKNOSSOS again to take {delivery.name}."
            yield _Action("redeliver", delivery.delivery_id, "Retry delivery", meaning)
    if job is None and is_there and one.state in ACCEPTED:
        meaning = "Take it for complete, although something speaks against it."
        yield _Action("accept", one.acquisition_id, "Accept as it is", meaning)
    if (job is None or is_newest) and is_there and one.state in FORGOTTEN:
        meaning = "Ignore it until its content changes. Nothing is deleted."
        yield _Action("forget", one.acquisition_id, "Forget", meaning)


def _form(session: Session, action: _Action, place: str) -> Markup:
    says = tag("span", action.meaning, class_="dim")
    return tag(
        "form",
        tag("input", type="hidden", name="form_word", value=session.form_word),
        tag("input", type="hidden", name="number", value=action.number),
        tag("input", type="hidden", name="next", value=place),
        markup(tag("button", action.label, type="submit"), " ", says),
        method="post",
        action=f"/actions/{action.deed}",
    )


def _place_of(found: AcquisitionRow, job: Job | None) -> str:
    if job is not None:
        return f"/jobs/{job.job_id}"
    return f"/acquisitions/{found.acquisition.acquisition_id}"
