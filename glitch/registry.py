"""The catalogue of corruptions: one function each, known by its name everywhere (menu, JSON, metadata)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

Value = int | float | str
Apply = Callable[..., Image.Image]


@dataclass(frozen=True)
class Parameter:
    """A setting of an operation, its value the one at severity 1.

    default decides the type. minimum, maximum: inclusive range of a number; step: how finely a slider moves.
    choices: the allowed words of a text. unit: of a number, for the tooltip.
    """

    name: str
    default: Value
    help: str
    minimum: float = 0
    maximum: float = 0
    step: float = 1
    unit: str = ""
    choices: tuple[str, ...] = ()

    def allowed(self) -> str:
        """Return the allowed values in words."""
        if self.choices:
            return f"one of {list(self.choices)}"
        return f"{self.minimum:g} to {self.maximum:g}{f' {self.unit}' if self.unit else ''}"

    def checked(self, value: Any) -> Value:
        """Return `value` in the parameter's type. Raises ValueError when it is not allowed."""
        accepted = value in self.choices if self.choices else self._is_in_range(value)
        if not accepted:
            raise ValueError(f"{self.name}: got {value!r}, allowed {self.allowed()}, change it")
        return type(self.default)(value)

    def _is_in_range(self, value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        within = self.minimum <= value <= self.maximum  # False for what is not a number, too
        return within and (isinstance(self.default, float) or value == int(value))


@dataclass(frozen=True)
class Operation:
    """A corruption of a picture.

    name: of its function. family: its group in the menu. version: raised when the same input would come out
    differently. draws: False when the result does not depend on the random stream. codecs: whose versions decide bits.
    """

    name: str
    family: str
    summary: str
    parameters: tuple[Parameter, ...]
    version: int
    draws: bool
    codecs: tuple[str, ...]
    function: Apply

    def checked(self, values: Mapping[str, Any]) -> dict[str, Value]:
        """Return every parameter with its checked value or default. Raises ValueError naming what is wrong."""
        known = {parameter.name: parameter for parameter in self.parameters}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"{self.name}: got unknown settings {unknown}, allowed {sorted(known)}, remove them")
        return {name: known[name].checked(values.get(name, known[name].default)) for name in known}

    def apply(
        self, image: Image.Image, rng: np.random.Generator, severity: float = 1.0, **parameters: object
    ) -> Image.Image:
        """Return a corrupted copy of an 8-bit RGB image, of the same size.

        severity: 0 (an exact copy) to 1 (the parameters as given). rng: the item's own stream. Raises ValueError.
        """
        values = self.checked(parameters)
        if image.mode != "RGB":
            raise ValueError(f"{self.name}: got a picture of mode {image.mode}, allowed RGB, convert it")
        if not 0 <= severity <= 1:
            raise ValueError(f"severity: got {severity}, allowed 0 to 1, change it")
        return image.copy() if severity == 0 else self.function(image, rng, severity, **values)


OPERATIONS: dict[str, Operation] = {}


def operation(
    family: str, *parameters: Parameter, version: int = 1, draws: bool = True, codecs: tuple[str, ...] = ()
) -> Callable[[Apply], Apply]:
    """Enter the decorated function into `OPERATIONS` under its own name; its docstring's first line is the summary.

    The function takes (image, rng, severity above 0, every parameter by name) and returns a new image.
    """

    def enter(function: Apply) -> Apply:
        name: str = function.__name__
        summary = (function.__doc__ or "").strip().splitlines()[0]
        OPERATIONS[name] = Operation(name, family, summary, parameters, version, draws, codecs, function)
        return function

    return enter


def find_operation(name: str) -> Operation:
    """Return the operation called `name`. Raises ValueError with the names there are."""
    from . import jpeg  # noqa: F401  (each module enters its operations)

    if name not in OPERATIONS:
        raise ValueError(f"operation: got {name!r}, allowed {sorted(OPERATIONS)}, choose one of them")
    return OPERATIONS[name]


def all_operations() -> tuple[Operation, ...]:
    """Return every operation, in the order of the menu."""
    from . import jpeg  # noqa: F401

    return tuple(OPERATIONS.values())


def codec_versions(codecs: tuple[str, ...]) -> dict[str, Any]:
    """Return the versions of Pillow and of the codecs, by name: the same settings give the same bits only with them."""
    import PIL
    from PIL import features

    return {"pillow": PIL.__version__, **{codec: features.version(codec) for codec in codecs}}
