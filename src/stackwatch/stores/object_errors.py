"""What object storage answers when it refuses, in our words: what it means, and what to do."""

import re
from typing import Final

from stackwatch.errors import TargetNotWritableError, WriteError

_RIGHTS: Final = (
    "Check the bucket's name, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION` and "
    "`AWS_ENDPOINT_URL`, and that the account may list, read, write and delete there."
)
_REGION: Final = "Set `AWS_REGION` to the region the bucket is in."
_REFUSALS: Final = (
    (r"InvalidCertificate", "Name the file with the authority's certificate in `SSL_CERT_FILE`."),
    (r"ExpiredToken|TokenRefreshRequired", "Renew the credentials, and restart the service."),
    (r"AuthorizationHeaderMalformed|redirect without LOCATION", _REGION),
    (r"Quota", "Make room in the bucket, or have its quota raised."),
    (r"NoSuchBucket|40[13] (Forbidden|Unauthorized)|PermissionDenied|Unauthenticated", _RIGHTS),
)
"""What a person has to mend."""
_TROUBLES: Final = (
    (
        r"169\.254\.",
        "No credentials were found: set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or give "
        "this machine a role.",
    ),
    (r"RequestTimeTooSkewed", "Set the clock of this machine; it is tried again."),
)
"""What may pass."""
_WAIT: Final = "Look at the object storage; it is tried again."
_ANSWER: Final = re.compile(r"<Code>([^<]*)</Code>(?:\s*<Message>([^<]*)</Message>)?")
_CERTIFICATE: Final = re.compile(r"InvalidCertificate\(\s*(\w+)")


def as_write_error(url: str, error: Exception) -> WriteError:
    """Return our error for one of the library's; one that waiting does not mend is told apart."""
    told = f"{type(error).__name__} {error}"
    reason = _reason(str(error))
    trouble = _advice(told, _TROUBLES)
    refusal = "" if trouble else _advice(told, _REFUSALS)
    if refusal:
        return TargetNotWritableError(
            f"{url} cannot be used ({reason}). {refusal}", hint=refusal, path=url
        )
    hint = trouble or _WAIT
    return WriteError(f"{url} does not take the dataset ({reason}). {hint}", hint=hint, path=url)


def _advice(told: str, table: tuple[tuple[str, str], ...]) -> str:
    return next((hint for pattern, hint in table if re.search(pattern, told)), "")


def _reason(told: str) -> str:
    """Return the store's own words where there are any, else the library's without its innards."""
    answer = _ANSWER.search(told)
    if answer is not None:
        return ": ".join(word.strip() for word in answer.groups() if word)
    certificate = _CERTIFICATE.search(told)
    if certificate is not None:
        return f"its certificate is not believed: {certificate[1]}"
    return " ".join(told.partition("Debug source:")[0].split())[:300]
