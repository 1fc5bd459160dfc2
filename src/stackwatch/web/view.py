"""What a page is made from: the ledger, the newest snapshot, and who looks."""

from dataclasses import dataclass
from typing import Any

from stackwatch.ledger.browsing import LedgerBrowser
from stackwatch.ledger.documents import build_status
from stackwatch.web.live import PageOptions, Snapshot
from stackwatch.web.sessions import Session


@dataclass(frozen=True, slots=True)
class View:
    """One look at the service.

    Attributes
    ----------
    browser : LedgerBrowser
    snapshot : Snapshot
    options : PageOptions
    now_us : int
    session : Session or None
        Of somebody who may act.
    """

    browser: LedgerBrowser
    snapshot: Snapshot
    options: PageOptions
    now_us: int
    session: Session | None = None

    def status(self) -> dict[str, Any]:
        """Return the document of `stackwatch status`."""
        return build_status(self.browser, self.snapshot.as_live())

    def has_preview(self, run_id: str) -> bool:
        """Tell whether there is a picture of the dataset that a run wrote."""
        from stackwatch.model.preview import preview_path

        path = preview_path(self.options.state_dir, run_id)
        return path is not None and path.is_file()
