"""What only the reading of all slices tells, in sentences for people."""

from stackwatch.model.plan import DatasetPlan
from stackwatch.readers.book import SourceBook


def clipping_of(plan: DatasetPlan, book: SourceBook) -> list[str]:
    """Return how many values of each stack lay beyond the range of `rescale`.

    Parameters
    ----------
    plan : DatasetPlan
    book : SourceBook
        After every slice was read once, before the comparison reads some of them again.
    """
    sentences = []
    for stack in plan.stacks:
        ends, clipped = stack.treatment.rescale, book.clipped_of(stack)
        if ends is None or not clipped:
            continue
        names = ", ".join(f"“{layer.name}”" for layer in stack.layers)
        total = sum(layer.size.volume * layer.size_t for layer in stack.layers)
        total *= stack.layers[0].voxel_type.channels
        sentences.append(
            f"{names}: {clipped:,} of {total:,} values ({clipped / total:.2%}) lay beyond "
            f"`rescale` = [{ends[0]:g}, {ends[1]:g}] and were clipped"
        )
    return sentences
