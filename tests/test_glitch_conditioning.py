"""Corruptions of conditioning: what holds for every one, and what each one does.

Oracles: ComfyUI's ConditioningAverage, and formulas on tensors.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from glitch_lora.dataset.seeds import generator
from glitch_lora.dataset.words import Words
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import all_operations, find_operation
from glitch_lora.glitch.step import corruption
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from test_glitch_latents import parameters

NAMES = [operation.name for operation in all_operations("conditioning")]


def words(
    tokens: int = 77, width: int = 32, pooled: int | None = 16, seed: int = 0, dtype: Any = torch.float32
) -> Words:
    """Return a conditioning whose first token is much longer than the others, as CLIP's is."""
    sequence = torch.from_numpy(generator(seed, "words").standard_normal((tokens, width)))
    sequence[0] *= 10
    vector = torch.from_numpy(generator(seed, "pooled").standard_normal(pooled)).to(dtype) if pooled else None
    return Words(sequence.to(dtype), vector)


def damaged(name: str, value: Words, severity: float = 1.0, seed: int = 0, others: Any = (), **values: Any) -> Words:
    return find_operation(name).apply(value, generator(seed), severity, Context([value, *others]), **values)


def same(a: Words, b: Words) -> bool:
    if a.pooled is None or b.pooled is None:
        return torch.equal(a.sequence, b.sequence) and a.pooled is b.pooled
    return torch.equal(a.sequence, b.sequence) and torch.equal(a.pooled, b.pooled)


def test_the_catalogue_has_them_all() -> None:
    assert set(NAMES) == {
        *("conditioning_noise", "conditioning_gain", "conditioning_drift"),
        *("token_shuffle", "token_dropout", "pooled_swap"),
    }
    for operation in all_operations("conditioning"):
        assert operation.summary.endswith(".") and operation.family.startswith("conditioning ")
        assert all(parameter.help and not parameter.help.endswith(".") for parameter in operation.parameters)
        json.dumps(corruption(operation.name).describe())


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), tokens=st.integers(1, 90), severity=st.floats(0.01, 1), seed=st.integers(0, 2**40))
@settings(max_examples=30, deadline=None)
def test_any_length_and_setting_keeps_shape_and_input(
    name: str, data: Any, tokens: int, severity: float, seed: int
) -> None:
    kind = data.draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    value = words(tokens, pooled=data.draw(st.sampled_from([None, 16])), dtype=kind)
    others = data.draw(st.sampled_from([(), (words(30, seed=1),), (words(154, pooled=None, seed=1),)]))
    values, before = data.draw(parameters(find_operation(name))), value.clone()
    once = damaged(name, value, severity, seed, others, **values)
    assert once.sequence.shape == value.sequence.shape and once.sequence.dtype == kind
    assert (once.pooled is None) == (value.pooled is None)
    assert value.pooled is None or (once.pooled.shape == value.pooled.shape and once.pooled.dtype == kind)
    assert same(once, damaged(name, value, severity, seed, others, **values)) and same(value, before)
    assert once.sequence.data_ptr() != value.sequence.data_ptr() and torch.isfinite(once.sequence.float()).all()
    assert value.pooled is None or once.pooled.data_ptr() != value.pooled.data_ptr()


@pytest.mark.parametrize("name", NAMES)
def test_severity_0_is_a_copy_and_more_is_more(name: str, unchanged_random_state: None) -> None:
    value, other = words(), words(seed=5)
    nothing = damaged(name, value, 0.0, others=[other])
    assert same(nothing, value) and nothing.sequence.data_ptr() != value.sequence.data_ptr()

    def moved(severity: float) -> float:
        changed = damaged(name, value, severity, others=[other])
        part = (changed.pooled - value.pooled) if name == "pooled_swap" else (changed.sequence - value.sequence)
        return float(part[1:].std())

    severities = np.linspace(0.1, 1, 10)
    assert spearmanr(severities, [moved(severity) for severity in severities]).statistic >= 0.9
    assert moved(1.0) > 0.3 and moved(0.01) < 0.2


def test_noise_has_the_strength_asked_for() -> None:
    value = words(width=256, pooled=512)
    noisy = damaged("conditioning_noise", value, 0.5, std=0.2)
    assert float((noisy.sequence - value.sequence).std() / value.sequence.std()) == pytest.approx(0.1, rel=0.05)
    assert float((noisy.pooled - value.pooled).std() / value.pooled.std()) == pytest.approx(0.1, rel=0.1)
    spared = damaged("conditioning_noise", value, pooled=False)
    assert torch.equal(spared.pooled, value.pooled) and not torch.equal(spared.sequence, value.sequence)


def test_gain_is_the_formula() -> None:
    value = words()
    for factor in (0.0, -1.0, 3.0):
        loud = damaged("conditioning_gain", value, 0.5, factor=factor)
        assert torch.allclose(loud.sequence, value.sequence * (1 + factor) / 2, atol=1e-6)
        assert torch.allclose(loud.pooled, value.pooled * (1 + factor) / 2, atol=1e-6)


def test_only_a_part_of_each_token_goes_along() -> None:
    value = words(width=40)
    for mode in ("shuffle", "roll"):
        changed = damaged("token_shuffle", value, mode=mode, fraction=0.5, width=0.25).sequence != value.sequence
        assert int(changed.any(0).sum()) == 10 and changed.any(0).equal(changed[changed.any(1)].all(0))


@pytest.mark.parametrize("spare_first", [True, False])
def test_tokens_change_places_vanish_repeat_and_roll(spare_first: bool) -> None:
    value = words(9)

    def source(mode: str, fraction: float) -> list[int]:
        changed = damaged("token_shuffle", value, mode=mode, fraction=fraction, width=1.0, spare_first=spare_first)
        assert torch.equal(changed.pooled, value.pooled)
        return [int((value.sequence - token).abs().sum(1).argmin()) for token in changed.sequence]

    first = int(spare_first)
    mixed = source("shuffle", 1.0)
    assert sorted(mixed) == list(range(9)) and all(mixed[n] != n for n in range(first, 9))
    assert source("roll", 1.0) == list(range(9)), "a whole turn"
    half = source("roll", 0.5)
    assert half[:first] == list(range(first)) and half[first:] == [*range(9 - 4, 9), *range(first, 9 - 4)]
    dropped = source("drop", 0.5)
    assert dropped == sorted(dropped) and len(set(dropped)) == 5 and dropped[:first] == list(range(first))
    repeated = source("repeat", 0.5)
    assert sum(token != place for place, token in enumerate(repeated)) in (3, 4)
    assert all(token in (place, place - 1) for place, token in enumerate(repeated))


def test_silent_tokens_hold_the_fill() -> None:
    value = words(200)
    for fill, expected in (("zero", torch.zeros(32)), ("mean", value.sequence.mean(0)), ("last", value.sequence[-1])):
        changed = damaged("token_dropout", value, fraction=0.5, fill=fill).sequence
        silent = (changed != value.sequence).any(1)
        assert silent.sum() == 100 and not silent[0]
        assert torch.allclose(changed[silent], expected.expand(int(silent.sum()), -1), atol=1e-6)


@pytest.mark.parametrize("tokens", [30, 77, 154])
def test_drifting_is_comfyuis_average(tokens: int) -> None:
    from nodes import ConditioningAverage

    value, other = words(), words(tokens, seed=5)
    pair = [[[each.sequence[None], {"pooled_output": each.pooled[None]}]] for each in (value, other)]
    ((sequence, extras),) = ConditioningAverage().addWeighted(*pair, 0.7)[0]
    ours = damaged("conditioning_drift", value, 0.5, others=[other], t=0.6)
    assert torch.allclose(ours.sequence, sequence[0], atol=1e-5)
    assert torch.allclose(ours.pooled, extras["pooled_output"][0], atol=1e-5)


def test_an_arc_keeps_lengths_and_meets_both_ends() -> None:
    value, other = words(), words(seed=5)
    there = damaged("conditioning_drift", value, others=[other], t=1.0, path="arc")
    assert torch.allclose(there.sequence, other.sequence, atol=1e-4)
    unit = [Words(each.sequence / each.sequence.norm(dim=1, keepdim=True)) for each in (value, other)]
    half = damaged("conditioning_drift", unit[0], others=[unit[1]], t=0.5, path="arc").sequence
    assert torch.allclose(half.norm(dim=1), torch.ones(77), atol=1e-5)
    angles = [torch.arccos((half * each.sequence).sum(1)) for each in unit]
    assert torch.allclose(angles[0], angles[1], atol=1e-3)


def test_alone_there_is_only_its_own_reverse() -> None:
    value = words()
    assert torch.allclose(damaged("conditioning_drift", value, t=1.0).sequence, value.sequence.flip(0), atol=1e-5)
    assert torch.allclose(damaged("pooled_swap", value).pooled, value.pooled.flip(0), atol=1e-6)


def test_only_the_vector_is_swapped() -> None:
    value, other = words(), words(seed=5)
    swapped = damaged("pooled_swap", value, others=[other])
    assert torch.equal(swapped.sequence, value.sequence) and torch.allclose(swapped.pooled, other.pooled, atol=1e-6)
    without = words(pooled=None)
    assert same(damaged("pooled_swap", without, others=[other]), without)
    with pytest.raises(ValueError, match="conditioning: got width 64 beside 32"):
        damaged("conditioning_drift", value, others=[words(width=64)])
