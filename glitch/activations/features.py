"""One operation on some of the features of one place in a network, always the same way."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...dataset.seeds import generator
from ..registry import Value, find_operation


@dataclass(frozen=True)
class FeatureBend:
    """A bend of activations: what it does depends on these settings, the place's name and the activations alone.

    operation: one on "activations". parameters: (name, value) pairs. severity: 0 to 1. fraction: the part of the
    channels that is bent, 0 to 1; which ones is drawn from `seed` for each place, and stays for every step.
    """

    operation: str
    parameters: tuple[tuple[str, Value], ...] = ()
    severity: float = 1.0
    fraction: float = 1.0
    seed: int = 0
    version: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Raises ValueError for an operation, parameter, severity or fraction that is not allowed."""
        found = find_operation(self.operation)
        if found.subject != "activations":
            raise ValueError(f"operation: got {self.operation!r}, allowed operations on activations, choose one")
        for name in ("severity", "fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, allowed 0 to 1, change it")
        object.__setattr__(self, "parameters", tuple(sorted(found.checked(dict(self.parameters)).items())))
        object.__setattr__(self, "version", found.version)

    @property
    def idle(self) -> bool:
        """True when nothing is changed at all."""
        return self.severity == 0 or self.fraction == 0

    def __call__(self, x: Tensor, place: str) -> Tensor:
        """Return activations [B, C, H, W] or [B, T, C] bent; `x` stays as it is. place: where in the network."""
        if self.idle:
            return x
        channels = 1 if x.dim() == 4 else -1
        count = x.shape[channels]
        rng = generator(self.seed, self.operation, place)
        order = torch.from_numpy(rng.permutation(count))
        picked = order[: max(1, round(self.fraction * count))].sort().values.to(x.device)
        apply = find_operation(self.operation).apply
        if len(picked) == count:
            return _finite(apply(x, rng, self.severity, None, **dict(self.parameters)), x)
        bent = apply(x.index_select(channels, picked), rng, self.severity, None, **dict(self.parameters))
        return x.index_copy(channels, picked, _finite(bent, x))


def _finite(bent: Tensor, x: Tensor) -> Tensor:
    """Return what half precision can hold: one infinity in one place would blacken the whole picture."""
    if x.dtype != torch.float16:
        return bent
    limit = torch.finfo(x.dtype).max
    return torch.nan_to_num(bent, nan=0.0, posinf=limit, neginf=-limit)
