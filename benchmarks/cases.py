"""What is measured: which stack, converted by whom, and what it has to reach.

The bars are those the project set itself; they stand here once, and the table shows each beside the
figure of the same run.
"""

from dataclasses import dataclass, field

VOXEL_SIZE_NM = "11.24,11.24,25"

Settings = dict[str, tuple[str, ...]]
"""Options of the peer by the name of the contender."""


@dataclass(frozen=True, slots=True)
class Case:
    """One stack and its contenders.

    Attributes
    ----------
    name : str
        What `--only` takes.
    stack : str
        Name in `benchmarks.stacks`.
    source : str
        What is given to the converters: the stack's folder, or this file in it.
    options : tuple of str
        Given to our command and to the peer's, which know them by the same names.
    ours_options : tuple of str
        Given to our command only.
    peers : dict
        The peer's settings to run, each with a name.
    has_floors : bool
        Whether the floors are measured.
    is_default : bool
        Whether it runs without being named.
    """

    name: str
    stack: str
    source: str = ""
    options: tuple[str, ...] = ()
    ours_options: tuple[str, ...] = ()
    peers: Settings = field(default_factory=dict)
    has_floors: bool = False
    is_default: bool = True


DEFAULT: Settings = {"peer": ()}
BEST: Settings = {"peer": (), "peer, best setting": ("--shard-shape", "1024,1024,32")}
SEGMENTATION = ("--category", "segmentation")
PLANE_BUDGET = ("--memory-gib", "4")
AS_WKW = ("--format", "wkw")
WKW: Settings = {"peer": ("--data-format", "wkw")}
LABEL_PLANES = (*PLANE_BUDGET, *SEGMENTATION)

CASES = (
    Case("em", "em", peers=BEST, has_floors=True),
    Case("light_sheet", "light_sheet", peers=DEFAULT, has_floors=True),
    Case("labels", "labels", options=SEGMENTATION, peers=DEFAULT, has_floors=True),
    Case("em_wkw", "em", ours_options=AS_WKW, peers=WKW),
    Case("labels_wkw", "labels", options=SEGMENTATION, ours_options=AS_WKW, peers=WKW),
    Case("pages", "pages", source="pages.tif", peers=DEFAULT),
    Case("tiny", "tiny", peers=DEFAULT),
    Case("deep_128", "deep_128"),
    Case("deep_1024", "deep_1024"),
    Case("plane_uint8", "plane_uint8", ours_options=PLANE_BUDGET, is_default=False),
    Case("plane_uint16", "plane_uint16", ours_options=PLANE_BUDGET, is_default=False),
    Case("plane_uint32", "plane_uint32", ours_options=LABEL_PLANES, is_default=False),
)

Figures = dict[str, dict[str, float]]
"""Figures of one case by contender: `ours`, `peer`, `peer, best setting`, `floor`."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: the figure reached, and what it has to be."""

    text: str
    reached: float
    wanted: float
    is_least: bool

    @property
    def is_met(self) -> bool:
        """Tell whether the figure is on the right side."""
        return self.reached >= self.wanted if self.is_least else self.reached <= self.wanted


def judge(results: dict[str, Figures]) -> list[Bar]:
    """Return the bars that the figures at hand can be held against.

    Parameters
    ----------
    results : dict
        Figures by the name of the case.
    """
    bars = _judge_em(results.get("em", {})) + _judge_wkw(results.get("em_wkw", {}))
    for name in ("light_sheet", "labels"):
        bars += _judge_size(name, results.get(name, {}))
    if "ours" in (pages := results.get("pages", {})):
        bars.append(Bar("pages: seconds", pages["ours"]["seconds"], 2.0, is_least=False))
    if "ours" in (tiny := results.get("tiny", {})):
        bars.append(Bar("tiny: seconds", tiny["ours"]["seconds"], 1.5, is_least=False))
        bars.append(Bar("tiny: peak MiB", tiny["ours"]["peak_mib"], 150, is_least=False))
    if {"deep_128", "deep_1024"} <= results.keys():
        growth = results["deep_1024"]["ours"]["peak_mib"] / results["deep_128"]["ours"]["peak_mib"]
        bars.append(Bar("peak of 1,024 slices / of 128", growth, 1.1, is_least=False))
    bars += [
        Bar(f"{name}: peak MiB", figures["ours"]["peak_mib"], 4096, is_least=False)
        for name, figures in results.items()
        if name.startswith("plane_")
    ]
    return bars


def _judge_em(figures: Figures) -> list[Bar]:
    if "ours" not in figures:
        return []
    ours = figures["ours"]
    bars = [Bar("em: peak MiB", ours["peak_mib"], 500, is_least=False)]
    for peer, wall in (("peer", 15), ("peer, best setting", 12)):
        if peer in figures:
            ratio = figures[peer]["seconds"] / ours["seconds"]
            bars.append(Bar(f"em: times quicker than {peer}", ratio, wall, is_least=True))
    if "peer" in figures:
        ratio = figures["peer"]["cpu_s"] / ours["cpu_s"]
        bars.append(Bar("em: times fewer CPU seconds than peer", ratio, 15, is_least=True))
    if "floor" in figures:
        ratio = ours["seconds"] / figures["floor"]["seconds"]
        bars.append(Bar("em: seconds / floor", ratio, 1.5, is_least=False))
    return bars


def _judge_wkw(figures: Figures) -> list[Bar]:
    if "ours" not in figures:
        return []
    ours = figures["ours"]
    bars = [Bar("em as WKW: peak MiB", ours["peak_mib"], 700, is_least=False)]
    if "peer" in figures:
        ratio = figures["peer"]["seconds"] / ours["seconds"]
        bars.append(Bar("em as WKW: times quicker than peer", ratio, 15, is_least=True))
    return bars


def _judge_size(name: str, figures: Figures) -> list[Bar]:
    if not {"ours", "peer"} <= figures.keys():
        return []
    ours, peer = figures["ours"], figures["peer"]
    return [
        Bar(f"{name}: size / peer's", ours["output_mb"] / peer["output_mb"], 1, is_least=False),
        Bar(f"{name}: times quicker", peer["seconds"] / ours["seconds"], 1, is_least=True),
    ]
