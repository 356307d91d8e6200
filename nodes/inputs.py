"""Inputs that several nodes have."""

from collections.abc import Sequence
from typing import Any, get_args

from comfy_api.latest import io

from ..glitch.registry import Operation, Parameter


def combo(name: str, choices: Any, tooltip: str, **settings: Any) -> io.Combo.Input:
    """Return a menu of a Literal's values, or of a sequence of texts; the first is the default."""
    options = list(choices if isinstance(choices, tuple | list) else get_args(choices))
    return io.Combo.Input(name, options=options, tooltip=tooltip, **settings)


def seed_input(tooltip: str, **settings: Any) -> io.Int.Input:
    """Return a seed that stays fixed until the user changes it: a moved seed would start a training again."""
    fixed = io.ControlAfterGenerate.fixed
    return io.Int.Input(
        "seed", default=0, min=0, max=2**53 - 1, control_after_generate=fixed, tooltip=tooltip, **settings
    )


def pixels(
    name: str, default: int, tooltip: str, low: int = 64, high: int = 8192, step: int = 8, **settings: Any
) -> io.Int.Input:
    """Return a length in pixels."""
    return io.Int.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip, **settings)


def operation_input(operations: Sequence[Operation]) -> io.DynamicCombo.Input:
    """Return a menu of corruptions that shows the settings of the chosen one only."""
    options = [
        io.DynamicCombo.Option(operation.name, [parameter_input(parameter) for parameter in operation.parameters])
        for operation in operations
    ]
    return io.DynamicCombo.Input("operation", options=options, tooltip="The kind of damage; its help page lists all.")


def severity_input(tooltip: str = "0 leaves everything as it is, 1 does what the settings say.") -> io.Float.Input:
    """Return the one dial of a corruption."""
    return io.Float.Input("severity", default=1.0, min=0.0, max=1.0, step=0.05, tooltip=tooltip)


def parameter_input(parameter: Parameter) -> io.Combo.Input | io.Int.Input | io.Float.Input | io.WidgetInput:
    """Return the input of a corruption's parameter."""
    if parameter.choices:
        return combo(parameter.name, parameter.choices, f"{parameter.help}.", default=parameter.default)
    if isinstance(parameter.default, bool):
        return io.Boolean.Input(parameter.name, default=parameter.default, tooltip=f"{parameter.help}.")
    if isinstance(parameter.default, str):
        return io.String.Input(parameter.name, default=parameter.default, multiline=True, tooltip=f"{parameter.help}.")
    number = type(parameter.default)
    kind = io.Float if number is float else io.Int
    return kind.Input(
        parameter.name,
        default=parameter.default,
        min=number(parameter.minimum),
        max=number(parameter.maximum),
        step=number(parameter.step),
        tooltip=f"{parameter.help} ({parameter.allowed()}), at severity 1.",
    )
