"""A corruption as a link in a chain of samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self, get_args

import numpy as np
from PIL import Image

from ..dataset.seeds import generator
from .context import Context
from .registry import Operation, Subject, Value, codec_versions, find_operation
from .sizes.lies import Sizes

Damage = Literal["frozen", "new for each variant"]
Touches = Literal["image", "caption", "size", "latent", "conditioning"]
_TOUCHES: dict[Subject, Touches] = {
    "pictures": "image",
    "captions": "caption",
    "latents": "latent",
    "conditioning": "conditioning",
    "sizes": "size",
}


class Corruptible(Protocol):
    """Whatever carries an image and its caption through the chain."""

    @property
    def image(self) -> Image.Image: ...
    @property
    def caption(self) -> str: ...
    @property
    def triggers(self) -> tuple[str, ...]: ...
    @property
    def damage(self) -> tuple[tuple[str, float], ...]: ...
    @property
    def original_size(self) -> tuple[int, int]: ...
    @property
    def crop(self) -> tuple[int, int]: ...

    def with_image(self, image: Image.Image, **changes: Any) -> Self: ...
    def with_caption(self, caption: str, **changes: Any) -> Self: ...
    def with_damage(self, name: str, severity: float) -> Self: ...


class Company(Protocol):
    """All samples of a dataset as they are before the step, in an order of content.

    memory: kept with the dataset, one for each variant, for what its samples work out once for all.
    """

    @property
    def place(self) -> int: ...
    @property
    def variant(self) -> int: ...
    @property
    def memory(self) -> dict[Any, Any]: ...
    @property
    def images(self) -> Sequence[Image.Image]: ...
    @property
    def captions(self) -> Sequence[str]: ...

    def twins(self, name: str, seed: int) -> int: ...


class EncodedCompany(Protocol):
    """Of all samples of a dataset what the step corrupts, as it is before any damage, in an order of content."""

    @property
    def place(self) -> int: ...
    @property
    def variant(self) -> int: ...
    @property
    def others(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Corruption:
    """A step that damages samples, each with its own random stream.

    operation: its name. parameters: (name, value) pairs, sorted; `corruption` makes them from a dict.
    severity: 0 (untouched) to 1. severity_jitter: each sample's severity is drawn from this much around it, 0..1.
    fraction: the probability, 0..1, that a sample is damaged at all.
    damage: "frozen" gives an item the same damage every time, "new for each variant" draws it again.
    """

    operation: str
    parameters: tuple[tuple[str, Value], ...] = ()
    severity: float = 1.0
    severity_jitter: float = 0.0
    fraction: float = 1.0
    damage: Damage = "frozen"
    seed: int = 0

    kind: ClassVar[Literal["corruption"]] = "corruption"

    def __post_init__(self) -> None:
        self._operation.checked(dict(self.parameters))
        if self._operation.subject not in _TOUCHES:
            raise ValueError(f"operation: got {self.operation!r}, allowed operations on {list(_TOUCHES)}, choose one")
        for name in ("severity", "severity_jitter", "fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed 0 to 1, change it")
        if self.damage not in get_args(Damage):
            raise ValueError(f"damage: got {self.damage!r}, allowed {list(get_args(Damage))}, choose one of them")

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.operation

    @property
    def touches(self) -> Touches:
        """What of a sample is damaged; latents and conditioning only when the sample is encoded."""
        return _TOUCHES[self._operation.subject]

    @property
    def varies(self) -> bool:
        """True when something is drawn again for another variant."""
        draws = self._operation.draws or 0 < self.fraction < 1 or self.severity_jitter > 0
        return self.damage != "frozen" and (self.severity > 0 or self.severity_jitter > 0) and draws

    @property
    def gathers(self) -> bool:
        """True when the damage looks at other samples, or at what happened to this one."""
        return self._operation.wants_context

    def apply(self, sample: Corruptible, rng: np.random.Generator, company: Company | None = None) -> Any:
        """Return the sample with its picture, caption or size damaged, or unchanged when the draw spares it."""
        severity = self._dealt(rng)
        if not severity:
            return sample
        if self.touches == "caption":
            caption = self._damaged(sample.caption, rng, severity, self._context(sample, company))
            return sample.with_caption(caption, triggers=(*sample.triggers, *_new_tags(sample, caption)))
        if self.touches == "image":
            image = self._damaged(sample.image, rng, severity, self._context(sample, company))
            return sample.with_image(image).with_damage(self.operation, severity)
        if self.touches == "size":
            told = self._damaged(Sizes(sample.original_size, sample.crop, sample.image.size), rng, severity, Context())
            sample = sample.with_image(sample.image, original_size=told.original, crop=told.crop)
        return sample.with_damage(self.operation, severity)

    def mark(self, sample: Corruptible, rng: np.random.Generator) -> Any:
        """Return the sample with the damage written down that `apply` would do to its picture, but not done."""
        severity = self._dealt(rng)
        return sample.with_damage(self.operation, severity) if severity else sample

    def apply_encoded(self, value: Any, rng: np.random.Generator, company: EncodedCompany | None = None) -> Any:
        """Return a latent [C, h, w] or `Words` damaged, or itself when the draw spares it; `apply` has the same stream.

        company: the latents or `Words` of all samples.
        """
        severity = self._dealt(rng)
        if not severity:
            return value
        context = Context(company.others, company.place, self._shared(company.variant)) if company else Context()
        return self._damaged(value, rng, severity, context)

    def describe(self) -> dict[str, Any]:
        """Return the step as JSON, with the versions of the codecs that decide its bits."""
        operation = self._operation
        return {
            "name": self.operation,
            "version": operation.version,
            "parameters": operation.checked(dict(self.parameters)),
            "severity": self.severity,
            "severity_jitter": self.severity_jitter,
            "fraction": self.fraction,
            "damage": self.damage,
            "seed": self.seed,
            "codecs": codec_versions(operation.codecs),
        }

    @property
    def _operation(self) -> Operation:
        return find_operation(self.operation)

    def _dealt(self, rng: np.random.Generator) -> float:
        """Return the severity this sample gets, 0 when it is spared: the first draws of its stream."""
        if rng.random() >= self.fraction:
            return 0.0
        if not self.severity_jitter:
            return self.severity
        return float(np.clip(self.severity + self.severity_jitter * rng.uniform(-1, 1), 0, 1))

    def _damaged(self, value: Any, rng: np.random.Generator, severity: float, context: Context) -> Any:
        return self._operation.apply(value, rng, severity, context, **dict(self.parameters))

    def _context(self, sample: Corruptible, company: Company | None) -> Context:
        if not self.gathers:
            return Context()
        if company is None:
            return Context((), 0, self._shared(0), sample.triggers, sample.damage)
        others = company.captions if self.touches == "caption" else company.images
        memory = company.memory.setdefault(self, {})
        shared = self._shared(company.variant, company.twins(self.operation, self.seed))
        return Context(others, company.place, shared, sample.triggers, sample.damage, memory)

    def _shared(self, variant: int, twins: int = 0) -> Callable[[], np.random.Generator]:
        """Return what gives the stream that all items of a variant share: the same one in all while damage is frozen.

        The first variant of new damage is the frozen damage. twins: how many equal steps came before.
        """
        again = (variant,) if self.varies and variant else ()
        twin = ("twin", twins) if twins else ()
        return lambda: generator(self.seed, self.operation, "shared", *again, *twin)


def _new_tags(sample: Corruptible, caption: str) -> list[str]:
    """Return the words of a caption that name the sample's damage: dropping parts of captions must spare them."""
    tags = dict.fromkeys(find_operation(name).tag for name, _ in sample.damage)
    return [tag for tag in tags if tag in caption and tag not in sample.triggers]


def corruption(operation: str, parameters: dict[str, Value] | None = None, **settings: Any) -> Corruption:
    """Return a checked `Corruption`; missing parameters take their defaults. Raises ValueError."""
    values = find_operation(operation).checked(parameters or {})
    return Corruption(operation, tuple(sorted(values.items())), **settings)
