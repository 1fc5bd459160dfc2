"""Deliveries to WEBKNOSSOS, as rows of a table."""

from collections.abc import Sequence

from stackwatch.ledger.delivery_records import DeliveryRecord
from stackwatch.model.delivery import DeliveryState
from stackwatch.web.markup import Markup, Piece, markup, tag
from stackwatch.web.parts import badge, moment, size, table
from stackwatch.web.view import View


def delivery_rows(view: View, found: Sequence[DeliveryRecord]) -> Markup:
    """Return a table of deliveries; empty if there are none."""
    headings = ("Dataset", "State", "To", "How", "Size", "Note")
    return table("Deliveries", headings, [_row(view, delivery) for delivery in found])


def _row(view: View, delivery: DeliveryRecord) -> tuple[Piece, ...]:
    record = delivery.as_record()
    return (
        tag("a", delivery.name, href=f"/jobs/{delivery.job_id}"),
        badge("superseded" if delivery.is_superseded else str(delivery.state)),
        delivery.server,
        delivery.kind,
        size(delivery.total_bytes),
        _said(view, delivery, record["message"]),
    )


def _said(view: View, delivery: DeliveryRecord, message: str | None) -> Piece:
    if delivery.state is DeliveryState.DELIVERED:
        link = tag("a", "open in WEBKNOSSOS", href=delivery.link) if delivery.link else None
        return markup(link, " ", moment(delivery.finished_at_us, view.now_us))
    if delivery.state is DeliveryState.RUNNING:
        return _progress(view, delivery)
    again = (
        markup(" Again at ", moment(delivery.not_before_us, view.now_us), ".")
        if delivery.state is DeliveryState.PAUSED and delivery.not_before_us
        else ""
    )
    return markup(message, again)


def _progress(view: View, delivery: DeliveryRecord) -> Piece:
    """Return a bar: of this moment, or as the ledger has it, which is up to a minute old."""
    progress = view.snapshot.deliveries.get(delivery.delivery_id) or delivery.progress or {}
    total = int(progress.get("total_bytes") or 0)
    done = int(progress.get("done_bytes") or 0)
    stage = str(progress.get("stage") or "starting")
    if not total:
        return stage
    share = f"{100 * done // total} %"
    bar = tag("progress", share, value=done, max=total, aria_label=f"{delivery.name}: {share}")
    speed = float(progress.get("bytes_per_s") or 0)
    return markup(bar, " ", share, f", {speed / 1e6:.1f} MB/s" if speed else None)
