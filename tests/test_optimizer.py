"""The optimizer's state through tensors and JSON. Oracle: torch's own optimizer that was never interrupted."""

import json
from pathlib import Path

import torch
from glitch_lora.training.lora_file import load_safetensors, save_safetensors
from glitch_lora.training.optimizer import build_optimizer, load_optimizer_state, optimizer_state


def steps(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], numbers: range) -> None:
    for number in numbers:
        for index, parameter in enumerate(parameters):
            generator = torch.Generator().manual_seed(100 * number + index)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def test_state_survives_a_file_bit_for_bit(tmp_path: Path) -> None:
    names = ["a.lora_A", "a.b.lora_B"]
    straight = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(4))]
    optimizer = build_optimizer(straight, 0.01, 0.1)
    steps(optimizer, straight, range(5))
    tensors, values = optimizer_state(optimizer, names)
    path = save_safetensors(tmp_path / "state.safetensors", tensors, {"values": json.dumps(values)})
    resumed = [torch.nn.Parameter(p.detach().clone()) for p in straight]
    steps(optimizer, straight, range(5, 9))

    again = build_optimizer(resumed, 0.01, 0.1)
    loaded, metadata = load_safetensors(path)
    load_optimizer_state(again, names, loaded, json.loads(metadata["values"]))
    steps(again, resumed, range(5, 9))
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))


def test_an_optimizer_that_has_not_stepped_has_no_state() -> None:
    optimizer = build_optimizer([torch.nn.Parameter(torch.ones(2))], 1e-4, 0.01)
    assert optimizer_state(optimizer, ["a"]) == ({}, {})
