"""What a text encoder made of a caption, for the steps that damage it before the model hears it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Words:
    """The conditioning of one text.

    sequence: tensor [tokens, width]. pooled: tensor [width] that stands for the whole text, None where the encoder
    gives none. Neither is ever changed in place.
    """

    sequence: Any
    pooled: Any = None

    def clone(self) -> "Words":
        """Return a copy whose tensors are its own."""
        return Words(self.sequence.clone(), None if self.pooled is None else self.pooled.clone())
