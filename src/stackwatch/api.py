"""The Python functions: the same pipeline as the command, for people who write scripts."""

import threading
from pathlib import Path
from typing import Unpack

from stackwatch.model.delivery import Delivered
from stackwatch.model.flags import ConvertFlags, FlagKeywords
from stackwatch.model.result import ConvertResult
from stackwatch.model.upload_flags import UploadFlags, UploadKeywords
from stackwatch.pipeline.convert import convert_acquisition
from stackwatch.pipeline.delivery_state import Show, upload_by_hand
from stackwatch.pipeline.inspect import InspectResult, inspect_acquisition
from stackwatch.pipeline.journal import Journal, SilentJournal
from stackwatch.pipeline.placing import placed_request
from stackwatch.webknossos.token import Token


def convert(
    source: str | Path,
    target: str | Path,
    *,
    journal: Journal | None = None,
    cancelled: threading.Event | None = None,
    **flags: Unpack[FlagKeywords],
) -> ConvertResult:
    """Convert one acquisition into a WEBKNOSSOS dataset: read, downsample, verify, publish.

    Parameters
    ----------
    source : str or Path
        A folder, a single file, or a zip archive.
    target : str or Path
        The dataset's own directory, or its address in object storage (`s3://bucket/name`, extra
        `s3`); it must not exist yet. Of a file with several images each
        becomes a dataset `<target>_<name>`, unless `scene` names one.
    journal : Journal or None
        Hears of progress (`stackwatch.pipeline.journal.Journal`).
    cancelled : threading.Event or None
        Set it from elsewhere to stop at the next slab; nothing is left behind.
    **flags
        The options of `stackwatch convert`, by the same names, all optional: `voxel_size_nm`,
        `name`, `layer_name`, `category`, `format`, `interpolation`, `max_mag`, `codec`,
        `downsample`, `chunk`, `shard`, `threads`, `memory_gib`, `executor`, `processes`,
        `scheduler`, `verify`, `layout`,
        `scene`, `missing_slices`, `alpha`, `cast`, `rescale`, `raw_shape`, `raw_axes`,
        `raw_dtype`, `raw_byte_order`, `raw_offset`, `bioformats_jar`, `ignore`. See
        `stackwatch.ConvertFlags`.

    Returns
    -------
    ConvertResult
        Datasets with their layers and mags, bytes, seconds, peak memory.

    Raises
    ------
    StackwatchError
        One of `stackwatch.errors`: what happened, what it means and what to do now stand in the
        message; `hint` and `values` hold the parts. Nothing half-written is visible.
    TypeError
        An unknown option.

    Examples
    --------
    >>> import tempfile
    >>> from stackwatch.testing.synthetic import SyntheticAcquisition
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = SyntheticAcquisition().write(Path(folder, "run_041"))
    ...     result = convert(
    ...         Path(folder, "run_041"), Path(folder, "em_041"), voxel_size_nm=(11, 11, 25)
    ...     )
    ...     [layer.name for layer in result.datasets[0].layers]
    ['color']
    """
    options = ConvertFlags(**flags).options()
    with placed_request(source, target, options) as request:
        return convert_acquisition(request, journal or SilentJournal(), cancelled)


def inspect(source: str | Path, **flags: Unpack[FlagKeywords]) -> InspectResult:
    """Tell what an acquisition is and what `convert` would write, without writing anything.

    Parameters
    ----------
    source : str or Path
    **flags
        As for `convert`.

    Returns
    -------
    InspectResult
        `record` holds the JSON of docs/json.md; `error` is why it would be parked, or None.

    Raises
    ------
    UsageError
        An option cannot be meant.
    TypeError
        An unknown option.
    """
    options = ConvertFlags(**flags).options()
    return inspect_acquisition(Path(source).absolute(), options)


def upload(
    dataset: str | Path,
    *,
    url: str,
    token: str | None = None,
    show: Show | None = None,
    cancelled: threading.Event | None = None,
    state_dir: str | Path | None = None,
    **flags: Unpack[UploadKeywords],
) -> Delivered:
    """Upload a published dataset to WEBKNOSSOS, or go on where an earlier call stopped.

    What arrived is compared with what lies here. A dataset that is on the server already is not
    sent again.

    Parameters
    ----------
    dataset : str or Path
        The directory of a dataset that `convert` or the service published.
    url : str
        Of WEBKNOSSOS, such as https://webknossos.org.
    token : str or None
        None looks in `token_file`, the systemd credential and STACKWATCH_WEBKNOSSOS_TOKEN.
    show : callable or None
        Called with `stackwatch.model.delivery.DeliveryProgress`, from any thread.
    cancelled : threading.Event or None
        Set it from elsewhere to stop; calling again goes on.
    state_dir : str, Path or None
        Where it is kept how far uploads came; None: below XDG_STATE_HOME.
    **flags
        The options of `stackwatch upload`, by the same names, all optional: `folder`, `name`,
        `teams`, `tags`, `description`, `datastore`, `ca_file`, `token_file`, `chunk_mib`,
        `parallel`. See `stackwatch.UploadFlags`.

    Returns
    -------
    Delivered
        The dataset's id on the server, and the link under which people open it.

    Raises
    ------
    DeliveryUnavailableError
        The server does not answer; call again later.
    DeliveryUnauthorizedError, DeliveryRefusedError, VerificationError
        What to do stands in the message.
    UsageError
        An option cannot be meant, or another process uploads this dataset.
    """
    return upload_by_hand(
        UploadFlags(**flags).request(Path(dataset).absolute(), url),
        state_dir=Path(state_dir).absolute() if state_dir is not None else None,
        token=Token(token) if token is not None else None,
        show=show,
        cancelled=cancelled,
    )
