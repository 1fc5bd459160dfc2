"""The pages with many rows: all jobs, and all acquisitions, with search and paging."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stackwatch.ledger.browsing import AcquisitionRow, JobRow, Search
from stackwatch.model.acquisition import show_path
from stackwatch.model.job import AcquisitionState, JobState
from stackwatch.model.wording import format_duration
from stackwatch.web.markup import Markup, Piece, markup, tag
from stackwatch.web.parts import Page, Section, badge, moment, pager, plural, size, table
from stackwatch.web.view import View

ROWS: Final = 50
PAGES_MAX: Final = 100_000
_LONGEST: Final = 200


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody looks for, as the address says it."""

    text: str = ""
    state: str = ""
    folder: str = ""
    page: int = 1

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> "Wish":
        """Read a query; what makes no sense counts as not said."""
        page = query.get("page", "1")
        is_number = page.isascii() and page.isdecimal() and len(page) < 9
        return cls(
            "".join(filter(str.isprintable, query.get("search", ""))).strip()[:_LONGEST],
            query.get("state", "")[:_LONGEST],
            query.get("folder", "")[:_LONGEST],
            min(max(1, int(page)), PAGES_MAX) if is_number else 1,
        )

    @property
    def search(self) -> Search:
        """What the ledger is asked."""
        return Search(self.text, self.state, self.folder, ROWS, (self.page - 1) * ROWS)

    def query(self) -> dict[str, str]:
        """Return what stands in the address, but for the page."""
        return {"search": self.text, "state": self.state, "folder": self.folder}


def build_history(view: View, query: Mapping[str, str]) -> Page:
    """Return the page `/history`."""
    wish = Wish.parse(query)
    found = view.browser.search_jobs(wish.search)
    count = view.browser.count_found_jobs(wish.search)
    headings = ("Acquisition", "Folder", "State", "Size", "Finished", "Took", "Note")
    body = markup(
        _form(view, "/history", wish, [str(state) for state in JobState]),
        table("Jobs, the newest first", headings, [_job_row(view, row) for row in found]),
        pager("/history", wish.query(), wish.page, count, ROWS),
    )
    return Page("History", (Section("jobs", "Jobs", body, count),), is_live=False)


def _job_row(view: View, row: JobRow) -> tuple[Piece, ...]:
    job = row.job
    name = show_path(job.name) + (f" (generation {job.generation})" if job.generation > 1 else "")
    error = (job.error or {}).get("message") if job.state is not JobState.SUCCEEDED else None
    return (
        tag("a", name, href=f"/jobs/{job.job_id}"),
        job.folder,
        badge(str(job.state)),
        size(job.total_bytes),
        moment(job.finished_at_us, view.now_us),
        _took(job.claimed_at_us, job.finished_at_us),
        tag("a", "WEBKNOSSOS", href=row.link) if row.link else _cut(str(error or "")),
    )


def _took(from_us: int | None, until_us: int | None) -> str:
    if from_us is None or until_us is None or until_us < from_us:
        return ""
    return format_duration((until_us - from_us) / 1e6)


def _cut(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def build_acquisitions(view: View, query: Mapping[str, str]) -> Page:
    """Return the page `/acquisitions`."""
    wish = Wish.parse(query)
    found = view.browser.search_acquisitions(wish.search)
    count = view.browser.count_found_acquisitions(wish.search)
    headings = ("Acquisition", "Folder", "State", "Files", "Size", "Changed", "Note")
    body = markup(
        _form(view, "/acquisitions", wish, [str(state) for state in AcquisitionState]),
        table(
            "Acquisitions, the one that changed last first",
            headings,
            [_acquisition_row(view, row) for row in found],
        ),
        pager("/acquisitions", wish.query(), wish.page, count, ROWS),
    )
    return Page("Acquisitions", (Section("list", "Acquisitions", body, count),), is_live=False)


def _acquisition_row(view: View, row: AcquisitionRow) -> tuple[Piece, ...]:
    one = row.acquisition
    gone = "not there any more" if one.vanished_at_us is not None else ""
    return (
        tag("a", show_path(one.name), href=f"/acquisitions/{one.acquisition_id}"),
        one.folder,
        badge(str(one.state)),
        plural(one.files, "file"),
        size(one.total_bytes),
        moment(one.changed_at_us, view.now_us),
        gone or _cut(str((one.error or {}).get("message") or "")),
    )


def _form(view: View, path: str, wish: Wish, states: Sequence[str]) -> Markup:
    folders = [folder.name for folder in view.browser.list_folders()]
    return tag(
        "form",
        tag(
            "label",
            "Search ",
            tag("input", type="search", name="search", value=wish.text, maxlength=_LONGEST),
        ),
        _choice("State", "state", states, wish.state),
        _choice("Folder", "folder", folders, wish.folder),
        tag("button", "Show", type="submit"),
        class_="search",
        method="get",
        action=path,
        role="search",
    )


def _choice(label: str, name: str, values: Sequence[str], chosen: str) -> Markup:
    options = [tag("option", "all", value="", selected=not chosen)]
    options += [tag("option", value, value=value, selected=value == chosen) for value in values]
    return tag("label", f"{label} ", tag("select", options, name=name))
