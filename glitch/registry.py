"""The catalogue of corruptions: one function each, known by its name everywhere (menu, JSON, metadata)."""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from ..dataset.near_names import near_names
from .context import Context

Value = int | float | str | bool
Apply = Callable[..., Any]
# What an operation corrupts; the functions are in the package of that name below this one.
Subject = Literal["pictures", "captions", "latents", "conditioning", "sizes", "loras", "activations"]


@dataclass(frozen=True)
class Parameter:
    """A setting of an operation, its value the one at severity 1.

    default decides the type: a number, a word of `choices`, yes or no, or (text without choices) any text.
    minimum, maximum: inclusive range of a number; step: how finely a slider moves. unit: of a number, for the tooltip.
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
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, str):
            return "any text"
        return f"{self.minimum:g} to {self.maximum:g}{f' {self.unit}' if self.unit else ''}"

    def checked(self, value: Any) -> Value:
        """Return `value` in the parameter's type. Raises ValueError when it is not allowed."""
        if not self._accepts(value):
            raise ValueError(f"{self.name}: got {value!r}, allowed {self.allowed()}, change it")
        return type(self.default)(value)

    def _accepts(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(self.default, bool | str):
            return isinstance(value, type(self.default))
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        within = self.minimum <= value <= self.maximum  # False for what is not a number, too
        return within and (isinstance(self.default, float) or value == int(value))


@dataclass(frozen=True)
class Operation:
    """A corruption.

    name: of its function. subject: what it corrupts. family: its group in the menu. tag: the word that names its damage
    in a caption. measured_by: the measure that rises with its severity ("-" in front: that falls), "" when none does.
    version: raised when the same input would come out differently. draws: False when the result does not depend on the
    random stream. wants_context: it looks at more than the one thing. codecs: whose versions decide bits.
    """

    name: str
    subject: Subject
    family: str
    summary: str
    parameters: tuple[Parameter, ...]
    tag: str
    measured_by: str
    version: int
    draws: bool
    wants_context: bool
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
        self,
        value: Any,
        rng: np.random.Generator,
        severity: float = 1.0,
        context: Context | None = None,
        **parameters: object,
    ) -> Any:
        """Return a corrupted copy; a picture keeps its size and mode (8-bit L, RGB or RGBA, whose alpha stays).

        severity: 0 (an exact copy) to 1 (the parameters as given). rng: the item's own stream. Raises ValueError.
        """
        values, severity = self.checked(parameters), float(severity)
        if not 0 <= severity <= 1:
            raise ValueError(f"severity: got {severity}, allowed 0 to 1, change it")
        more = {"context": context or Context()} if self.wants_context else {}

        def corrupt(one: Any) -> Any:
            return self.function(one, rng, severity, **more, **values)

        if self.subject == "pictures":
            return _on_rgb(self.name, value, corrupt if severity else Image.Image.copy)
        if severity == 0:
            return value.clone() if hasattr(value, "clone") else value
        return corrupt(value)


def _on_rgb(name: str, image: Image.Image, corrupt: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return the corrupted colours of an image in its own mode."""
    if image.mode == "RGB":
        return corrupt(image)
    if image.mode == "L":
        return corrupt(image.convert("RGB")).convert("L")
    if image.mode == "RGBA":
        corrupted = corrupt(image.convert("RGB"))
        corrupted.putalpha(image.getchannel("A"))
        return corrupted
    raise ValueError(f"{name}: got a picture of mode {image.mode}, allowed L, RGB or RGBA, convert it")


OPERATIONS: dict[str, Operation] = {}


def operation(
    family: str,
    *parameters: Parameter,
    subject: Subject = "pictures",
    tag: str = "",
    measured_by: str = "",
    version: int = 1,
    draws: bool = True,
    wants_context: bool = False,
    codecs: tuple[str, ...] = (),
) -> Callable[[Apply], Apply]:
    """Enter the decorated function into `OPERATIONS` under its own name; its docstring's first line is the summary.

    The function takes (value, rng, severity above 0, `context` if it wants one, every parameter by name), and returns
    something new: never the value, never changed in place.
    """

    def enter(function: Apply) -> Apply:
        name: str = function.__name__
        summary = (function.__doc__ or "").strip().splitlines()[0]
        word = f"glx_{tag or name}"
        OPERATIONS[name] = Operation(
            name,
            subject,
            family,
            summary,
            parameters,
            word,
            measured_by,
            version,
            draws,
            wants_context,
            codecs,
            function,
        )
        return function

    return enter


def find_operation(name: str) -> Operation:
    """Return the operation called `name`. Raises ValueError with the names there are."""
    if name in OPERATIONS:
        return OPERATIONS[name]
    for subject in get_args(Subject):
        _load(subject)
        if name in OPERATIONS:
            return OPERATIONS[name]
    raise ValueError(f"operation: got {name!r}, allowed {near_names(name, sorted(OPERATIONS))}, choose one")


def all_operations(subject: Subject = "pictures") -> tuple[Operation, ...]:
    """Return every operation on a subject, family by family."""
    _load(subject)
    found = [operation for operation in OPERATIONS.values() if operation.subject == subject]
    return tuple(sorted(found, key=lambda operation: (operation.family, operation.name)))


@functools.cache
def _load(subject: Subject) -> None:
    """Import every module of a subject's package: each enters its operations."""
    package = importlib.import_module(f".{subject}", __package__)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f".{module.name}", package.__name__)


def codec_versions(codecs: tuple[str, ...]) -> dict[str, Any]:
    """Return the versions of Pillow and of the codecs, by name: the same settings give the same bits only with them.

    codecs: names Pillow knows as features, such as "libjpeg_turbo", "webp", "avif", "jpg_2000" and "zlib", or of
    installed distributions, such as "av".
    """
    import PIL

    return {"pillow": PIL.__version__, **{codec: _version(codec) for codec in codecs}}


def _version(codec: str) -> str | None:
    from importlib import metadata

    from PIL import features

    if codec in (*features.modules, *features.codecs, *features.features):
        return features.version(codec)
    try:
        return metadata.version(codec)
    except metadata.PackageNotFoundError:
        return None
