"""How far a run's checkpoints moved the text encoders: probe texts before and after, and the words the run learnt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import fmean
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..metrics.text_drift import common_movement, directions, drift, kept, movement, neighbours, spacing
from ..training.lora_file import load_safetensors
from ..training.run import Run
from .probes import Probe


class Heard(Protocol):
    """What one encoder gives for a text: see `ProbeEncoder`."""

    @property
    def pieces(self) -> tuple[int | None, ...]: ...
    @property
    def sequence(self) -> NDArray[np.float32]: ...
    @property
    def pooled(self) -> NDArray[np.float32] | None: ...


class Listener(Protocol):
    """Encodes texts without the run and with a checkpoint of it."""

    @property
    def encoders(self) -> tuple[str, ...]: ...
    def before(self, texts: Sequence[str], heard: Callable[[int], None]) -> Sequence[Mapping[str, Heard]]: ...
    def after(
        self, tensors: dict[str, Any], texts: Sequence[str], heard: Callable[[int], None]
    ) -> Sequence[Mapping[str, Heard]]: ...


@dataclass(frozen=True)
class ProbeDrift:
    """One probe in one encoder at one step, against the encoder before training.

    sequence: the mean of 1 - cosine over the text's own tokens. own: what is left of it after the movement that all
    plain probes have in common is taken off. pooled: 1 - cosine of the pooled output, NaN for an encoder without one.
    before, nearest: the neighbours before and after, the nearest first; kept: the Jaccard index of the two sets. An
    encoder that gives no finite numbers any more has NaN everywhere.
    """

    probe: Probe
    encoder: str
    step: int
    sequence: float
    own: float
    pooled: float
    kept: float
    before: tuple[str, ...]
    nearest: tuple[str, ...]

    @property
    def gone(self) -> tuple[str, ...]:
        """The neighbours that are none any more."""
        return tuple(text for text in self.before if text not in self.nearest)

    @property
    def came(self) -> tuple[str, ...]:
        """The neighbours that are new."""
        return tuple(text for text in self.nearest if text not in self.before)


@dataclass(frozen=True)
class TextDrift:
    """What was found. common: (step, encoder) -> the part of the mean drift that all plain probes have alike.

    spacing: (encoder, "sequence" or "pooled") -> the median of 1 - cosine between two plain probes before training, to
    compare a drift with; for the sequence between the mean directions of their tokens.
    """

    run: str
    steps: tuple[int, ...]
    encoders: tuple[str, ...]
    rows: tuple[ProbeDrift, ...]
    common: Mapping[tuple[int, str], float]
    spacing: Mapping[tuple[str, str], float]

    @property
    def pooled(self) -> tuple[str, ...]:
        """The encoders that have a pooled output."""
        return tuple(name for name in self.encoders if (name, "pooled") in self.spacing)

    def at(self, step: int, encoder: str) -> list[ProbeDrift]:
        """Return the probes of a step in an encoder, in their order."""
        return [row for row in self.rows if (row.step, row.encoder) == (step, encoder)]

    def mean(self, step: int, encoder: str, measure: str = "sequence", kind: str = "") -> float:
        """Return the mean of a measure over the plain probes, or over those of a class; NaN without any."""
        rows = [row for row in self.at(step, encoder) if row.probe.kind == kind or not (kind or row.probe.learnt)]
        return fmean(getattr(row, measure) for row in rows) if rows else nan

    def means(self) -> list[float]:
        """Return the mean drift of the plain probes at each step, over all encoders."""
        return [fmean(self.mean(step, encoder) for encoder in self.encoders) for step in self.steps]

    def share(self, value: float, encoder: str, measure: str = "sequence") -> float:
        """Return a drift as part of the distance between two texts, 0 for none; NaN where texts are not told apart."""
        apart = self.spacing.get((encoder, measure), 0.0)
        return 0.0 if value == 0 else value / apart if apart else nan

    def common_share(self, step: int, encoder: str) -> float:
        """Return the part of the mean drift that all plain probes have alike, 0..1; 0 where nothing moved."""
        whole = self.mean(step, encoder)
        return self.common[step, encoder] / whole if whole != 0 else 0.0

    def most(self, step: int, encoder: str) -> list[ProbeDrift]:
        """Return the plain probes of a step by their drift, the farthest first; those without a number come first."""
        rows = [row for row in self.at(step, encoder) if not row.probe.learnt]
        return sorted(rows, key=lambda row: (not isnan(row.sequence), -round(row.sequence, 9)))


def measure_text_drift(
    run: Run,
    steps: Sequence[int],
    probes: Sequence[Probe],
    listener: Listener,
    count: int,
    heard: Callable[[int], None] = lambda done: None,
) -> TextDrift:
    """Return the drift of `probes` at `steps` of a run, LoRA at strength 1, against the model before training.

    count: neighbours of each probe, among the other probes. heard(n) is called after n texts of all, and may raise to
    stop.
    """
    texts = [probe.text for probe in probes]
    before = listener.before(texts, heard)
    rows: list[ProbeDrift] = []
    common: dict[tuple[int, str], float] = {}
    for turn, step in enumerate(steps, start=1):
        done = turn * len(texts)
        tensors = load_safetensors(run.checkpoint(step).path)[0]
        after = listener.after(tensors, texts, lambda number, done=done: heard(done + number))  # type: ignore[misc]
        for encoder in listener.encoders:
            pair = [each[encoder] for each in before], [each[encoder] for each in after]
            common[step, encoder], found = _compared(probes, pair, count, encoder, step)
            rows += found
    plain = [heard for probe, heard in zip(probes, before, strict=True) if not probe.learnt]
    return TextDrift(run.name, tuple(steps), listener.encoders, tuple(rows), common, _spacing(plain))


def _spacing(plain: Sequence[Mapping[str, Heard]]) -> dict[tuple[str, str], float]:
    found = {}
    for encoder in plain[0] if plain else ():
        heard = [each[encoder] for each in plain]
        found[encoder, "sequence"] = spacing(_text_directions(heard))
        pooled = [each.pooled for each in heard if each.pooled is not None]
        if pooled:
            found[encoder, "pooled"] = spacing(np.stack(pooled))
    return found


def _compared(
    probes: Sequence[Probe], pair: tuple[Sequence[Heard], Sequence[Heard]], count: int, encoder: str, step: int
) -> tuple[float, list[ProbeDrift]]:
    """Return (what all plain probes moved alike, every probe's drift) in one encoder."""
    plain = [number for number, probe in enumerate(probes) if not probe.learnt]
    moved = [text_movement(before, after) for before, after in zip(*pair, strict=True)]
    common = common_movement([moved[number] for number in plain])
    old, new = (neighbours(_text_directions(heard), plain, count) for heard in pair)
    rows = [
        ProbeDrift(
            probe,
            encoder,
            step,
            sequence=drift(moved[number]),
            own=drift(moved[number] - common),
            pooled=_pooled_drift(pair[0][number], pair[1][number]),
            kept=kept(old[number], new[number]),
            before=tuple(probes[other].text for other in old[number]),
            nearest=tuple(probes[other].text for other in new[number]),
        )
        for number, probe in enumerate(probes)
    ]
    return drift(common), rows


def text_movement(before: Heard, after: Heard) -> NDArray[np.float64]:
    """Return how the direction of each of a text's own tokens moved, [tokens, width].

    Start, end and padding are left out: they would outweigh a short text. Where the tokens are not the same any more,
    because a learnt word stands for them, there are no pairs: then it is one row, of the mean directions.
    """
    if before.pieces == after.pieces and None not in before.pieces:
        return movement(before.sequence, after.sequence)
    return movement(*(_text_directions([heard]) for heard in (before, after)))


def _pooled_drift(before: Heard, after: Heard) -> float:
    if before.pooled is None or after.pooled is None:
        return nan
    return drift(movement(before.pooled[None], after.pooled[None]))


def _text_directions(heard: Sequence[Heard]) -> NDArray[np.float64]:
    """Return one direction for each text: the mean of its own tokens' directions, at length 1."""
    return directions(np.stack([directions(each.sequence).mean(axis=0) for each in heard]))
