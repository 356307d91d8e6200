"""How much of a corruption a latent can carry: what is left of it after a VAE has encoded and decoded it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .planes import Picture
from .registry import Metric, compare, find_metric


@dataclass(frozen=True)
class Survival:
    """What a metric says. clean, corrupted: of the pictures as they are. clean_through, corrupted_through: of what
    comes back from the VAE. share: how much of the difference is left: 1 all, 0 nothing, below 0 turned around.

    The share is None when the corruption does not change the metric by more than 1 % of its size.
    """

    clean: float
    corrupted: float
    clean_through: float
    corrupted_through: float

    @property
    def share(self) -> float | None:
        """Return how much of the difference is left."""
        before = self.corrupted - self.clean
        if abs(before) <= 0.01 * max(abs(self.corrupted), abs(self.clean)):
            return None
        return (self.corrupted_through - self.clean_through) / before


def survival(
    clean: Picture, corrupted: Picture, encode_decode: Callable[[Picture], Picture], names: Sequence[str]
) -> dict[str, Survival]:
    """Return for each single-picture metric how much of a corruption outlives `encode_decode`.

    encode_decode: a picture through a VAE, of the same size. The VAE changes the clean picture too, so what comes
    back is compared with what comes back of that.
    """
    through = encode_decode(clean), encode_decode(corrupted)
    return {
        name: Survival(*(find_metric(name).function(picture) for picture in (clean, corrupted, *through)))
        for name in names
    }


def difference_left(clean: Picture, corrupted: Picture, encode_decode: Callable[[Picture], Picture]) -> float:
    """Return the share of a corruption's distance to the clean picture that is left after `encode_decode`.

    1 when all of it is, 0 when nothing is or the pictures are equal.
    """
    before = compare(corrupted, clean, ["distance"])["distance"]
    after = compare(encode_decode(corrupted), encode_decode(clean), ["distance"])["distance"]
    return after / before if before else 0.0


def survival_shares(
    clean: Picture, corrupted: Picture, encode_decode: Callable[[Picture], Picture], metrics: Sequence[Metric]
) -> dict[str, float | None]:
    """Return how much of a corruption outlives a VAE, by name for a table: of the distance, and of each single metric.

    None where the corruption does not move the metric.
    """
    once: dict[bytes, Picture] = {}

    def remembered(picture: Picture) -> Picture:
        key = picture.tobytes()
        if key not in once:
            once[key] = encode_decode(picture)
        return once[key]

    found = survival(clean, corrupted, remembered, [metric.name for metric in metrics if metric.kind == "single"])
    shares = {f"{find_metric(name).title}, left by the VAE": one.share for name, one in found.items()}
    return {"Difference, left by the VAE": difference_left(clean, corrupted, remembered), **shares}
