"""The types of single settings: what each takes, and the sentence that refuses anything else."""

import math
import re
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from stackwatch.model.options import SCHEDULER_ADDRESS
from stackwatch.model.voxels import COLOR_DTYPES, SEGMENTATION_DTYPES
from stackwatch.stores.objects import address_mistake


class Section(BaseModel):
    """One section of the configuration file: frozen, and strict about names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def refuse(sentence: str) -> PydanticCustomError:
    """Return the error that tells what a value must be."""
    return PydanticCustomError("stackwatch", "{sentence}", {"sentence": sentence})


def _no_boolean(value: Any) -> Any:
    """Keep `workers = true` from becoming 1."""
    if isinstance(value, bool):
        raise refuse("must be a number")
    return value


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        raise refuse("must be an absolute path")
    return path


def _power_of_two(value: int) -> int:
    if value < 1 or value & (value - 1):
        raise refuse("must be a power of two")
    return value


def _folder_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) or "__" in name:
        raise refuse(
            "must start with a letter or digit, hold only letters, digits, `-` and `_`, "
            "and no `__` (it separates the parts of environment variables)"
        )
    return name


def _dataset_name(template: str) -> str:
    unknown = set(re.findall(r"\{([^{}]*)\}", template)) - {"acquisition", "folder"}
    if unknown or "{acquisition}" not in template or re.sub(r"\{\w+\}", "", template).count("{"):
        raise refuse("must hold `{acquisition}`, and no other placeholder than `{folder}`")
    return template


def _dtype(name: str) -> str:
    allowed = sorted({*COLOR_DTYPES, *SEGMENTATION_DTYPES})
    if name not in allowed:
        raise refuse(f"must be one of {', '.join(allowed)}")
    return name


def _marker(pattern: str) -> str:
    from stackwatch.layout.ignore import is_junk  # late: only a folder that has a marker pays
    from stackwatch.layout.kinds import ARCHIVE_SUFFIXES, FOREIGN_SUFFIXES
    from stackwatch.readers.probe import IMAGE_SUFFIXES

    if "/" in pattern or is_junk(pattern):
        raise refuse("must be a pattern of visible file names, without a folder: `*.done`")
    tail = re.split(r"[*?\]]", pattern)[-1].lower()
    suffixes = {*IMAGE_SUFFIXES, *ARCHIVE_SUFFIXES, *FOREIGN_SUFFIXES}
    if any(suffix.endswith(tail) or tail.endswith(suffix) for suffix in suffixes):
        raise refuse("must end in something that no image's name ends in: `*.done`")
    return pattern


def _layout_name(name: str) -> str:
    from stackwatch.layout.classify import LAYOUTS  # late: only a folder that names one pays

    if name not in LAYOUTS:
        raise refuse(f"must be one of {', '.join(LAYOUTS)}")
    return name


def _rising(value: Any) -> Any:
    """Accept two numbers, the smaller first."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise refuse("must be [smallest, largest]")
    return tuple(value)


def _is_rising(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[1] - value[0] < math.inf:
        raise refuse("must be [smallest, largest], and the first below the second")
    return value


def _box(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise refuse("must be [x, y, z]")
    return tuple(value)


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise refuse("must be an address such as https://webknossos.example.org")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise refuse("must hold no user, password, query or fragment")
    return value.rstrip("/")


def _bucket(value: str) -> str:
    if mistake := address_mistake(value.rstrip("/")):
        raise refuse(mistake)
    return value.rstrip("/")


def _remote_folder(path: str) -> str:
    names = path.strip("/").split("/")
    if not all(name.strip() for name in names):
        raise refuse("must be a path of folders in WEBKNOSSOS, such as `Datasets/em`")
    return "/".join(names)


def _address(value: str) -> str:
    host, colon, port = value.rpartition(":")
    if value and not (host and colon and port.isdecimal() and int(port) < 1 << 16):
        raise refuse("must be HOST:PORT, or empty to switch it off")
    return value


def _scheduler(value: str) -> str:
    if value and not re.fullmatch(SCHEDULER_ADDRESS, value):
        raise refuse("must be an address such as tcp://HOST:8786, or empty")
    return value


def _wall_time(value: str) -> str:
    if not re.fullmatch(r"(\d+-)?\d+:\d\d:\d\d", value):
        raise refuse("must be [DAYS-]HOURS:MINUTES:SECONDS, as Slurm writes it")
    return value


Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_no_boolean)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
PowerOfTwo = Annotated[int, BeforeValidator(_no_boolean), AfterValidator(_power_of_two)]
FolderName = Annotated[str, AfterValidator(_folder_name)]
DatasetName = Annotated[str, AfterValidator(_dataset_name)]
DtypeName = Annotated[str, AfterValidator(_dtype)]
Marker = Annotated[str, AfterValidator(_marker)]
LayoutName = Annotated[str, AfterValidator(_layout_name)]
Url = Annotated[str, AfterValidator(_url)]
Bucket = Annotated[str, AfterValidator(_bucket)]
RemoteFolder = Annotated[str, AfterValidator(_remote_folder)]
SchedulerAddress = Annotated[str, AfterValidator(_scheduler)]
WallTime = Annotated[str, AfterValidator(_wall_time)]
ListenAddress = Annotated[str, AfterValidator(_address)]
ValueRange = Annotated[tuple[Number, Number], BeforeValidator(_rising), AfterValidator(_is_rising)]
Edges = Annotated[tuple[PowerOfTwo, PowerOfTwo, PowerOfTwo], BeforeValidator(_box)]
"""Along x, y, z."""
