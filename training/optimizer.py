"""The optimizer, and its state as tensors and JSON values."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def build_optimizer(
    parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov & Hutter 2019) with a rate and a decoupled decay."""
    trained = list(parameters)
    # One kernel for the whole formula; the CPU's default is a dozen calls for each of hundreds of tensors. CUDA has a
    # good default of its own.
    fused = True if all(parameter.device.type == "cpu" for parameter in trained) else None
    return torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay, fused=fused)


def optimizer_state(optimizer: torch.optim.Optimizer, names: Iterable[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the state per parameter as CPU tensors ``<name>.<entry>`` and the entries that are plain values.

    names: of the parameters, in the order the optimizer was given them.
    """
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    entries = optimizer.state_dict()["state"]
    for index, name in enumerate(names):
        for entry, value in entries.get(index, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}.{entry}"] = value.detach().to("cpu", copy=True)
            else:
                values[f"{name}.{entry}"] = value
    return tensors, values


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, names: Iterable[str], tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> None:
    """Put back what `optimizer_state` returned; the rate and other settings stay the optimizer's own."""
    index_of = {name: index for index, name in enumerate(names)}
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**tensors, **values}.items():
        name, entry = key.rsplit(".", 1)
        state.setdefault(index_of[name], {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
