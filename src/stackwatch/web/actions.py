"""What somebody may do who has signed in: retry, accept as it is, forget."""

from typing import Final

from stackwatch.ledger.browsing import AcquisitionRow
from stackwatch.ledger.records import Job
from stackwatch.model.job import AcquisitionState, JobState
from stackwatch.web.markup import NOTHING, Markup, markup, tag
from stackwatch.web.sessions import Session
from stackwatch.web.view import View

RETRIED: Final = (JobState.PARKED, JobState.FAILED, JobState.WAITING)
ACCEPTED: Final = (AcquisitionState.SETTLING, AcquisitionState.INCOMPLETE)
FORGOTTEN: Final = (
    AcquisitionState.SETTLING,
    AcquisitionState.INCOMPLETE,
    AcquisitionState.QUEUED,
    AcquisitionState.WAITING,
    AcquisitionState.PARKED,
)
_WORDS: Final = {
    "retry": ("Retry now", "Queue the job again."),
    "accept": ("Accept as it is", "Take it for complete, although something speaks against it."),
    "forget": ("Forget", "Ignore it until its content changes. Nothing is deleted."),
}


def list_actions(found: AcquisitionRow, job: Job | None) -> tuple[str, ...]:
    """Return what can be done about an acquisition, and about its job if that is the newest."""
    one = found.acquisition
    is_there = one.vanished_at_us is None
    is_newest = job is not None and job.generation == one.generation
    possible = {
        "retry": is_newest and job is not None and job.state in RETRIED,
        "accept": job is None and is_there and one.state in ACCEPTED,
        "forget": (job is None or is_newest) and is_there and one.state in FORGOTTEN,
    }
    return tuple(action for action, is_possible in possible.items() if is_possible)


def action_forms(view: View, found: AcquisitionRow, job: Job | None) -> Markup:
    """Return a form for each action; a link to sign in where nobody has; empty without actions."""
    actions = list_actions(found, job) if view.options.has_actions else ()
    if not actions:
        return NOTHING
    place = _place_of(found, job)
    if view.session is None:
        return tag("p", tag("a", "Sign in to act", href=f"/sign-in?next={place}"), class_="actions")
    forms = [_form(view.session, action, found, job, place) for action in actions]
    return tag("div", forms, class_="actions")


def _form(
    session: Session, action: str, found: AcquisitionRow, job: Job | None, place: str
) -> Markup:
    label, meaning = _WORDS[action]
    number = found.acquisition.acquisition_id if action != "retry" or job is None else job.job_id
    return tag(
        "form",
        tag("input", type="hidden", name="form_word", value=session.form_word),
        tag("input", type="hidden", name="number", value=number),
        tag("input", type="hidden", name="next", value=place),
        markup(tag("button", label, type="submit"), " ", tag("span", meaning, class_="dim")),
        method="post",
        action=f"/actions/{action}",
    )


def _place_of(found: AcquisitionRow, job: Job | None) -> str:
    if job is not None:
        return f"/jobs/{job.job_id}"
    return f"/acquisitions/{found.acquisition.acquisition_id}"
