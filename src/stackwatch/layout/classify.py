"""Decide how an acquisition is organised: run the rules, refuse ties, never guess."""

import glob
from pathlib import Path
from typing import Final

from stackwatch.errors import (
    AmbiguousLayoutError,
    MixedSlicesError,
    StackwatchError,
    UnknownLayoutError,
    UsageError,
)
from stackwatch.layout.drafts import (
    Claim,
    Content,
    LayerDraft,
    Misfit,
    Probe,
    Verdict,
)
from stackwatch.layout.instruments import INSTRUMENTS
from stackwatch.layout.names import Role, parse_families
from stackwatch.layout.rules import RULES
from stackwatch.layout.survey import ImageFolder, Survey, survey_listing
from stackwatch.layout.volumes import VOLUME_FOLDER, classify_volumes, find_volumes
from stackwatch.model.acquisition import Listing, show_path
from stackwatch.model.options import LayoutOptions

LAYER_FOLDERS: Final = "layer-folders"

LAYOUTS: Final = ("auto", *RULES, LAYER_FOLDERS, VOLUME_FOLDER, *INSTRUMENTS)
"""What the `layout` setting takes."""


def classify(listing: Listing, probe: Probe, options: LayoutOptions) -> Verdict:
    """Tell which files are which slices of which layers.

    Parameters
    ----------
    listing : Listing
    probe : Probe
        Called lazily, at most once per file if the caller remembers.
    options : LayoutOptions

    Raises
    ------
    AmbiguousLayoutError
        Two layouts fit; the caller parks.
    UnknownLayoutError
        None fits; the caller parks.
    LayoutError, AcquisitionError, ReadError
        The one that fits is not whole, or a file cannot be read.
    """
    if options.layout not in LAYOUTS:
        raise UsageError(
            f"`layout` is “{options.layout}”; it must be one of {', '.join(LAYOUTS)}.",
            hint=f"Set `layout` to one of {', '.join(LAYOUTS)}.",
        )
    volumes = find_volumes(listing) if options.layout in {"auto", VOLUME_FOLDER} else None
    if volumes is not None:
        return classify_volumes(listing, volumes, probe)
    survey = survey_listing(listing, options.ignore, has_bioformats=bool(options.bioformats_jar))
    root_images = [folder for folder in survey.folders if folder.path == survey.base]
    below = [folder for folder in survey.folders if folder.path != survey.base]
    if root_images and below and options.layout == "auto":
        raise _images_beside_folders(listing, root_images[0], below, survey.base)
    if root_images and (not below or options.layout != LAYER_FOLDERS):
        verdict = _classify_flat(listing, root_images[0], probe, options)
    else:
        verdict = _classify_layer_folders(listing, survey, below, probe, options)
    return _with_remarks(verdict, survey, left_out=_left_out(root_images, below, options))


def _left_out(
    root_images: list[ImageFolder], below: list[ImageFolder], options: LayoutOptions
) -> list[ImageFolder]:
    if not (root_images and below):
        return []
    return root_images if options.layout == LAYER_FOLDERS else below


def _with_remarks(verdict: Verdict, survey: Survey, left_out: list[ImageFolder]) -> Verdict:
    evidence = verdict.evidence
    if survey.base:
        evidence = (f"all images lie in “{show_path(survey.base)}”", *evidence)
    if survey.side_files:
        files = "1 file is" if survey.side_files == 1 else f"{survey.side_files} files are"
        evidence = (*evidence, f"{files} no image and left out")
    warnings = [*survey.warnings, *verdict.warnings]
    for folder in left_out:
        place = f"“{show_path(folder.path)}”" if folder.path else "the acquisition's own folder"
        warnings.append(f"left out, as `layout` says: {len(folder.files)} images in {place}")
    return Verdict(verdict.layout, evidence, verdict.layers, tuple(warnings))


def _classify_flat(
    listing: Listing, folder: ImageFolder, probe: Probe, options: LayoutOptions
) -> Verdict:
    inner = tuple(part for part in folder.path.split("/") if part)
    own_name = (_own_name(listing.root),) if listing.is_whole_folder and not inner else ()
    claim = _decide(
        Content(
            shown=f"“{show_path(listing.root)}”",
            files=folder.files,
            probe=probe,
            missing_slices=options.missing_slices,
            is_forced=options.layout in RULES,
            folders=(*own_name, *inner),
        ),
        options,
    )
    layers = tuple(LayerDraft(stack) for stack in claim.stacks)
    return Verdict(claim.rule, claim.evidence, layers, claim.warnings)


def _own_name(root: Path) -> str:
    return root.stem if root.suffix.lower() == ".zip" else root.name


def _classify_layer_folders(
    listing: Listing,
    survey: Survey,
    below: list[ImageFolder],
    probe: Probe,
    options: LayoutOptions,
) -> Verdict:
    prefix = survey.base + "/" if survey.base else ""
    children: dict[str, list[ImageFolder]] = {}
    for folder in below:
        children.setdefault(folder.path[len(prefix) :].split("/")[0], []).append(folder)
    for child, folders in children.items():
        if len(folders) > 1:
            raise _nested(listing, child, folders)
    if options.layout == "auto":
        _ensure_folders_are_layers(listing, list(children))
    layers: list[LayerDraft] = []
    names = ", ".join(f"“{show_path(child)}”" for child in list(children)[:6])
    evidence = [f"{len(children)} folders with images ({names}): each a layer"]
    warnings: list[str] = []
    for child, (folder,) in children.items():
        claim = _decide(
            Content(
                shown=f"“{show_path(listing.root / folder.path)}”",
                files=folder.files,
                probe=probe,
                missing_slices=options.missing_slices,
                is_forced=options.layout in RULES,
                folders=tuple(folder.path[len(prefix) :].split("/")),
            ),
            options,
        )
        layers += [LayerDraft(stack, child) for stack in claim.stacks]
        evidence += [f"“{show_path(child)}”: {sentence}" for sentence in claim.evidence]
        warnings += [f"“{show_path(child)}”: {sentence}" for sentence in claim.warnings]
    return Verdict(LAYER_FOLDERS, tuple(evidence), tuple(layers), tuple(warnings))


def _decide(content: Content, options: LayoutOptions) -> Claim:
    """Return the one sure claim on a content.

    Raises
    ------
    StackwatchError
        The claimed content is not whole, no rule fits, or more than one does.
    """
    if options.layout in RULES:
        said = RULES[options.layout](content)
        if isinstance(said, Misfit):
            raise _forced_misfit(content, said)
        return _sound(said)
    opinions = [rule(content) for rule in RULES.values()]
    claims = [opinion for opinion in opinions if isinstance(opinion, Claim)]
    if len(claims) == 1 and claims[0].is_sure:
        return _sound(claims[0])
    if claims:
        raise _tie(content, claims)
    raise _explain_misfit(content, [o for o in opinions if isinstance(o, Misfit)])


def _sound(claim: Claim) -> Claim:
    if claim.error is not None:
        raise claim.error
    return claim


def _tie(content: Content, claims: list[Claim]) -> AmbiguousLayoutError:
    readings = [f"*{claim.rule}* ({'; '.join(claim.evidence)})" for claim in claims]
    settings = " or ".join(f'`layout = "{claim.rule}"`' for claim in claims)
    count = "Two layouts fit" if len(claims) == 2 else f"{len(claims)} layouts fit"
    start = count if len(claims) > 1 else "One layout may fit, but nothing in the names proves it:"
    between = ": " if len(claims) > 1 else " "
    return AmbiguousLayoutError(
        f"{start} {content.shown}{between}{' and '.join(readings)}. Nothing is guessed. Say which "
        f"with {settings}. `stackwatch inspect` shows the evidence.",
        hint=f"Say which layout it is with {settings}.",
        layouts=[claim.rule for claim in claims],
    )


def _explain_misfit(content: Content, misfits: list[Misfit]) -> StackwatchError:
    """Return the error that helps most where no rule fits."""
    families = content.families
    if len(content.depths) > 1:
        return _mixed_depths(content)
    if len(families) > 1 and len(families[0].names) > max(len(f.names) for f in families[1:]):
        return _stray(content)
    reasons = "; ".join(f"{misfit.rule}: {misfit.reason}" for misfit in misfits)
    if len(families) > 1:
        hint = "Number the slices in one way, and put each series into a folder of its own."
    else:
        hint = (
            "Put a word before each number that says what it counts (z, c, t), "
            "or leave one number that counts."
        )
    return UnknownLayoutError(
        f"No layout fits {content.shown} ({len(content.files)} image files, such as "
        f"“{show_path(content.files[0])}”). {reasons}. {hint}",
        hint=hint,
        templates=[show_path(family.template) for family in families[:20]],
        reasons=[f"{misfit.rule}: {misfit.reason}" for misfit in misfits],
    )


def _stray(content: Content) -> AmbiguousLayoutError:
    main = content.families[0]
    strays = [content.by_name[name] for family in content.families[1:] for name in family.names]
    patterns = ", ".join(f'"{glob.escape(show_path(path))}"' for path in strays[:5])
    shown = ", ".join(f"“{show_path(path)}”" for path in strays[:3])
    more = f" and {len(strays) - 3} more" if len(strays) > 3 else ""
    return AmbiguousLayoutError(
        f"{len(main.names)} images of {content.shown} are named “{show_path(main.template)}”, but "
        f"{shown}{more} {'is' if len(strays) == 1 else 'are'} not: a slice or a stray picture "
        f"(preview, thumbnail, label)? Rename it, move it away, or set `ignore = [{patterns}]`.",
        hint=f"Rename or move the stray picture, or set `ignore = [{patterns}]`.",
        template=show_path(main.template),
        strays=[show_path(path) for path in strays[:20]],
    )


def _mixed_depths(content: Content) -> MixedSlicesError:
    deep = [p for p, info in content.sampled.items() if info.size_z > 1 or info.size_t > 1]
    flat = [p for p in content.sampled if p not in set(deep)]
    few, many = sorted((flat, deep), key=len)
    if len(content.families) > 1:
        few, many = flat, deep  # previews beside a volume, whatever their number
    patterns = ", ".join(f'"{glob.escape(show_path(path))}"' for path in few[:5])
    return MixedSlicesError(
        f"{content.shown} mixes images of one slice (“{show_path(flat[0])}”) with images of "
        f"several (“{show_path(deep[0])}”). Which of them are the acquisition cannot be told. "
        f"Move the others away, or set `ignore = [{patterns}]`.",
        hint=f"Move what does not belong away, or set `ignore = [{patterns}]`.",
        single=[show_path(path) for path in flat[:20]],
        several=[show_path(path) for path in deep[:20]],
        majority=len(many),
    )


def _forced_misfit(content: Content, misfit: Misfit) -> UnknownLayoutError:
    return UnknownLayoutError(
        f'`layout = "{misfit.rule}"` does not fit {content.shown}: {misfit.reason}. Choose another '
        'layout, or leave it at "auto".',
        hint='Choose another `layout`, or leave it at "auto".',
        layout=misfit.rule,
        reason=misfit.reason,
    )


def _images_beside_folders(
    listing: Listing, root: ImageFolder, below: list[ImageFolder], base: str
) -> AmbiguousLayoutError:
    prefix = base + "/" if base else ""
    names = sorted({folder.path[len(prefix) :].split("/")[0] for folder in below})
    patterns = ", ".join(f'"{glob.escape(show_path(name))}/"' for name in names[:5])
    shown = ", ".join(f"“{show_path(name)}”" for name in names[:5])
    return AmbiguousLayoutError(
        f"Two layouts fit “{show_path(listing.root)}”: {len(root.files)} images in the folder "
        f"itself (one layer), and the folders {shown} with images (*{LAYER_FOLDERS}*, a layer "
        f"each). If the folders hold previews, set `ignore = [{patterns}]`; if they are the "
        f'layers, set `layout = "{LAYER_FOLDERS}"`.',
        hint=f'Set `ignore = [{patterns}]`, or `layout = "{LAYER_FOLDERS}"`.',
        root_images=len(root.files),
        folders=[show_path(name) for name in names[:20]],
        layouts=["sequence", LAYER_FOLDERS],
    )


def _nested(listing: Listing, child: str, folders: list[ImageFolder]) -> UnknownLayoutError:
    shown = ", ".join(f"“{show_path(folder.path)}”" for folder in folders[:4])
    return UnknownLayoutError(
        f"“{show_path(child)}” in “{show_path(listing.root)}” has images in {len(folders)} folders "
        f"({shown}). A layer is one folder. If each of them is an acquisition of its own, raise "
        "`acquisition_depth`; otherwise move the images of a layer together.",
        hint="Raise `acquisition_depth`, or move the images of each layer into one folder.",
        folder=show_path(child),
        folders=[show_path(folder.path) for folder in folders[:20]],
    )


def _ensure_folders_are_layers(listing: Listing, children: list[str]) -> None:
    """Refuse folders that count something: slices, timepoints, tiles, or nobody knows what."""
    for family in parse_families(children):
        if len(family.names) < 2:
            continue
        roles = {field.role for field in family.fields}
        is_bare = family.template.strip("#-_. ") == ""
        if not (is_bare or roles & {Role.Z, Role.T, Role.TILE, Role.PART}):
            continue
        shown = show_path(family.template)
        raise AmbiguousLayoutError(
            f"The folders of “{show_path(listing.root)}” are counted (“{shown}”, "
            f"{len(family.names)} of them): layers, or slices, timepoints or tiles of one layer? "
            f'If each is a layer, set `layout = "{LAYER_FOLDERS}"`; if each is an acquisition, '
            "raise `acquisition_depth`; otherwise move the files together.",
            hint=f'Set `layout = "{LAYER_FOLDERS}"` or raise `acquisition_depth`.',
            template=shown,
            folders=[show_path(name) for name in family.names[:20]],
        )
