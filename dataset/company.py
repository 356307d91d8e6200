"""The other samples, for steps that look beyond their own: false captions, collages, pictures moved by one another."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, overload

from PIL import Image

from .sample import twins_among

if TYPE_CHECKING:
    from .dataset import Dataset


class Lazy(Sequence[Any]):
    """A sequence whose items are made when they are asked for, each at most once."""

    def __init__(self, length: int, make: Callable[[int], Any]) -> None:
        self._length = length
        self._make = make
        self._made: dict[int, Any] = {}

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(self._length))]
        if not -self._length <= place < self._length:
            raise IndexError(place)
        place %= self._length
        if place not in self._made:
            self._made[place] = self._make(place)
        return self._made[place]


class Company:
    """All samples of a dataset as they come to one of its steps, in an order that depends on their contents alone.

    place: where the sample itself stands in that order. variant: the one that all of them are of.
    """

    def __init__(self, dataset: "Dataset", index: int, variant: int) -> None:
        """dataset: with the steps before the one that asks."""
        self._dataset = dataset
        self.variant = variant
        self.place = dataset.content_places[index]

    @cached_property
    def images(self) -> Sequence[Image.Image]:
        """The pictures, read when asked for."""
        order = self._dataset.content_order
        return Lazy(len(order), lambda place: self._dataset.sample(order[place], self.variant).image)

    @property
    def captions(self) -> Sequence[str]:
        """The captions."""
        return self._dataset.captions_in_order(self.variant)

    def twins(self, name: str, seed: int) -> int:
        """Return how many steps of this name and seed come before."""
        return twins_among(self._dataset.steps, name, seed)

    @property
    def memory(self) -> dict[Any, Any]:
        """The same object for all samples of a variant, kept with the dataset: for what one works out for all."""
        return self._dataset.memory(self.variant)
