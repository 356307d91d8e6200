"""What has become of the vectors of the words a run learnt, from their start to each checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..dataset.trigger_facts import Near
from ..training.embeddings import Embeddings
from ..training.model import TrainableText
from ..training.recipe import Recipe
from ..training.run import Run
from ..training.words import Vectors

START = 0


class Found(Protocol):
    """What a look through an encoder's token table found: see `scan_table`."""

    @property
    def median_norm(self) -> float: ...
    @property
    def nearest(self) -> Sequence[Sequence[tuple[int, Near]]]: ...


class Vocabularies(Protocol):
    """Looks vectors up in the token tables of a CLIP."""

    @property
    def text(self) -> TrainableText: ...
    def look_up(self, vectors: Vectors, count: int, check: Callable[[], None]) -> Mapping[str, Found]: ...


@dataclass(frozen=True)
class VectorDrift:
    """One vector of a learnt word at one step, 0 being its start.

    number: from 1. length: over the median length of the encoder's token table. moved: how far it is from its start, in
    the same unit. cosine: to its start. near: the vocabulary's words nearest to it. since: the step that counts as the
    start, 0 for the true one.
    """

    token: str
    encoder: str
    step: int
    number: int
    length: float
    moved: float
    cosine: float
    near: tuple[Near, ...]
    since: int


@dataclass(frozen=True)
class _Vector:
    token: str
    encoder: str
    step: int
    number: int
    value: Tensor
    start: Tensor
    since: int


def measure_word_drift(
    run: Run, steps: Sequence[int], clip: Vocabularies, count: int, check: Callable[[], None] = lambda: None
) -> tuple[VectorDrift, ...]:
    """Return every vector of every word that the run learns, at its start and at `steps`; () for a run without words.

    The start is made again from the run's recipe; where that cannot be (it was a file, or config.json is damaged) the
    first checkpoint counts as the start. count: of nearest vocabulary words. `check` may raise to stop.
    """
    states = {step: run.words(step) for step in steps}
    if not any(states.values()):
        return ()
    vectors = list(_vectors(states, _starts(run, clip.text), run))
    by_encoder: dict[str, list[_Vector]] = {}
    for vector in vectors:
        by_encoder.setdefault(vector.encoder, []).append(vector)
    queries = {encoder: torch.stack([each.value for each in own]) for encoder, own in by_encoder.items()}
    found = clip.look_up(queries, count, check)
    return tuple(
        _drift(vector, found[encoder].median_norm, near)
        for encoder, own in by_encoder.items()
        for vector, near in zip(own, found[encoder].nearest, strict=True)
    )


def _starts(run: Run, text: TrainableText) -> dict[str, Vectors]:
    """Return the vectors with which words started, as far as the recipe alone tells."""
    try:
        recipe = Recipe.from_json(run.config()["recipe"])
        known = [word for word in recipe.embeddings if word.init != "file"]
        return Embeddings(text, known, {}, recipe.seed).exported()
    except (KeyError, TypeError, ValueError):  # a config that is damaged, or of another version
        return {}


def _vectors(states: Mapping[int, Mapping[str, Vectors]], starts: Mapping[str, Vectors], run: Run) -> Any:
    first = run.checkpoints()[0].step
    earliest = run.words(first)
    for token in dict.fromkeys(token for words in states.values() for token in words):
        since = START if token in starts else first
        start = starts[token] if token in starts else earliest.get(token, {})
        known = {START: {token: starts[token]}} if token in starts else {}
        for encoder in start:
            for step, words in {**known, **states}.items():
                rows = words.get(token, {}).get(encoder)
                if rows is not None and rows.shape == start[encoder].shape:
                    for number, (value, origin) in enumerate(zip(rows, start[encoder], strict=True), start=1):
                        yield _Vector(token, encoder, step, number, value.float(), origin.float(), since)


def _drift(vector: _Vector, median: float, near: Sequence[tuple[int, Near]]) -> VectorDrift:
    unit = median or 1.0
    cosine = torch.nn.functional.cosine_similarity(vector.value.double(), vector.start.double(), dim=0)
    return VectorDrift(
        vector.token,
        vector.encoder,
        vector.step,
        vector.number,
        length=float(vector.value.norm()) / unit,
        moved=float((vector.value - vector.start).norm()) / unit,
        cosine=float(cosine),
        near=tuple(word for _, word in near),
        since=vector.since,
    )
