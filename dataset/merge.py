"""Several datasets as one, in a chosen proportion."""

from collections.abc import Sequence

from .dataset import Dataset
from .derived import merged
from .selection import drawn, parted


def mixed(datasets: Sequence[Dataset], share: float = 0.0, repeats: int = 1, seed: int = 0) -> Dataset:
    """Return one dataset of the first and of pictures of the others, each after its own chain.

    share: how many pictures of each other dataset come to one of the first: 5 takes five times as many as the first
    has, 0.1 a tenth, always one or more, drawn by `seed` and by content; all when there are fewer; 0 takes all.
    repeats: how much more often the pictures of the others count. Raises ValueError for a share below 0, for repeats
    outside 1 to 999 in all, and without pictures.
    """
    if not 0 <= share:
        raise ValueError(f"share: got {share}, allowed 0 (all) or more, change it")
    if not datasets:
        raise ValueError("datasets: got none, allowed one or more, connect some")
    first, *others = datasets
    wanted = max(1, round(share * len(first))) if share else 0
    return merged([first, *(_part(other, wanted, repeats, seed) for other in others)]).require_items()


def _part(dataset: Dataset, wanted: int, repeats: int, seed: int) -> Dataset:
    indices = range(len(dataset))
    return parted(dataset, drawn(dataset, indices, wanted, seed) if wanted else indices, repeats)[0]
