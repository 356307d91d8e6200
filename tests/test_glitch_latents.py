"""Corruptions of latents: what holds for every one, and what each one does.

Oracles: formulas on tensors, NumPy's transforms, PyTorch's own 8-bit types.
"""

import json
from typing import Any

import numpy as np
import pytest
import torch
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import Operation, all_operations, find_operation
from glitch_lora.glitch.step import corruption
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

NAMES = [operation.name for operation in all_operations("latents")]
SHAPES = st.one_of(
    st.tuples(st.sampled_from([4, 16, 48]), st.integers(1, 17), st.integers(1, 17)),
    st.tuples(st.sampled_from([4, 16]), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.sampled_from([8, 64]), st.integers(1, 40)),
)


def latent(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return a smooth latent with the spread of SD 1.5's, which are about 5 before scaling."""
    values = generator(seed, "latent").standard_normal(shape).cumsum(-1).cumsum(-2 if len(shape) > 2 else -1)
    return torch.from_numpy(5 * values / (values.std() or 1)).to(dtype)


def parameters(operation: Operation) -> st.SearchStrategy:
    """Draw allowed values for every parameter of an operation."""

    def one(parameter: Any) -> st.SearchStrategy:
        if parameter.choices:
            return st.sampled_from(parameter.choices)
        if isinstance(parameter.default, bool):
            return st.booleans()
        if isinstance(parameter.default, float):
            return st.floats(parameter.minimum, parameter.maximum)
        return st.integers(int(parameter.minimum), int(parameter.maximum))

    return st.fixed_dictionaries({parameter.name: one(parameter) for parameter in operation.parameters})


def damaged(name: str, value: Any, severity: float = 1.0, seed: int = 0, others: Any = (), **values: Any) -> Any:
    return find_operation(name).apply(value, generator(seed), severity, Context([value, *others]), **values)


def test_the_catalogue_has_them_all() -> None:
    assert set(NAMES) == {
        *("latent_noise", "latent_channels", "latent_shift", "latent_block_shuffle", "latent_quantize", "latent_sort"),
        *("latent_gain", "latent_spectrum", "latent_mixup", "latent_holes", "latent_precision"),
    }
    for operation in all_operations("latents"):
        assert operation.summary.endswith(".") and operation.family.startswith("latent ")
        assert all(parameter.help and not parameter.help.endswith(".") for parameter in operation.parameters)
        json.dumps(corruption(operation.name).describe())


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), shape=SHAPES, severity=st.floats(0.01, 1), seed=st.integers(0, 2**40))
@settings(max_examples=30, deadline=None)
def test_any_shape_and_setting_keeps_shape_and_input(
    name: str, data: Any, shape: Any, severity: float, seed: int
) -> None:
    value = latent(*shape, seed=1, dtype=data.draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16])))
    values, before = data.draw(parameters(find_operation(name))), value.clone()
    others = data.draw(st.sampled_from([(), (latent(shape[0], 5, 3, seed=2),)]))
    once = damaged(name, value, severity, seed, others, **values)
    assert once.shape == value.shape and once.dtype == value.dtype and once is not value
    assert torch.equal(once, damaged(name, value, severity, seed, others, **values))
    assert torch.equal(value, before) and once.untyped_storage().data_ptr() != value.untyped_storage().data_ptr()
    assert torch.isfinite(once.float()).all()


@pytest.mark.parametrize("name", NAMES)
def test_severity_0_is_a_copy_and_more_is_more(name: str, unchanged_random_state: None) -> None:
    value = latent(16, 32, 32, seed=3)
    nothing = damaged(name, value, 0.0)
    assert torch.equal(nothing, value) and nothing is not value
    severities = np.linspace(0.1, 1, 10)
    moved = [float((damaged(name, value, severity) - value).std() / value.std()) for severity in severities]
    assert spearmanr(severities, moved).statistic >= 0.9, moved
    assert moved[-1] > 0.1 and float((damaged(name, value, 0.01) - value).std() / value.std()) < 0.2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 1, 1), (4, 32, 32)])
def test_an_empty_latent_stays_finite(name: str, shape: tuple[int, ...]) -> None:
    assert torch.isfinite(damaged(name, torch.zeros(shape))).all()


def test_noise_has_the_strength_and_colour_asked_for() -> None:
    value = latent(4, 64, 64)
    for colour in ("white", "pink", "blocky"):
        noise = (damaged("latent_noise", value, 0.5, std=2.0, colour=colour) - value).numpy()
        assert noise.std() == pytest.approx(float(value.std()), rel=0.15)
        power = (np.abs(np.fft.rfft2(noise)) ** 2).mean(axis=0)
        assert (power[1, 1] > 100 * power[32, 32]) == (colour != "white")
    blocks = (damaged("latent_noise", value, colour="blocky", cell=8) - value).reshape(4, 8, 8, 8, 8)
    assert blocks.std(dim=(2, 4)).max() < 1e-4 < blocks.std()
    alike = damaged("latent_noise", value, same_for_all_channels=True) - value
    assert torch.allclose(alike[0], alike[3], atol=1e-4)


def test_channels_are_exchanged_dropped_negated_multiplied() -> None:
    value = latent(16, 8, 8)
    mixed = damaged("latent_channels", value, mode="shuffle", fraction=1.0)
    places = [int((value - channel).abs().flatten(1).sum(1).argmin()) for channel in mixed]
    assert sorted(places) == list(range(16)) and all(place != number for number, place in enumerate(places))
    for mode, factor in (("drop", 0.0), ("negate", -1.0), ("gain", 3.0)):
        changed = damaged("latent_channels", value, mode=mode, fraction=0.25, gain=3.0)
        touched = [n for n in range(16) if not torch.equal(changed[n], value[n])]
        assert len(touched) == 4 and torch.allclose(changed[touched], factor * value[touched], atol=1e-4)
    two = damaged("latent_channels", latent(4, 8, 8), mode="shuffle", fraction=0.01)
    assert sum(not torch.equal(a, b) for a, b in zip(two, latent(4, 8, 8), strict=True)) == 2


def test_channels_part_but_keep_their_values() -> None:
    value = latent(4, 16, 24)
    rolled, flipped = (damaged("latent_shift", value, mode=mode) for mode in ("roll", "flip"))
    for changed in (rolled, flipped):
        assert torch.equal(changed.flatten(1).sort().values, value.flatten(1).sort().values)
    for before, after in zip(value, rolled, strict=True):
        rolls = [torch.roll(before, (y, x), (0, 1)) for y in range(-4, 5) for x in range(-6, 7)]
        assert any(torch.equal(after, roll) for roll in rolls)
    for before, after in zip(value, flipped, strict=True):
        assert any(torch.equal(after, before.flip(axes)) for axes in ((0,), (1,), (0, 1)))


def test_gain_is_the_formula() -> None:
    value = latent(4, 8, 8)
    expected = value * 4**0.5 + 0.5 * 0.25 * value.std(correction=0)
    assert torch.allclose(damaged("latent_gain", value, 0.5, factor=4.0, shift=0.25), expected, atol=1e-4)


def test_blocks_move_whole() -> None:
    value = torch.arange(4 * 8 * 8, dtype=torch.float32).reshape(4, 8, 8)
    moved = damaged("latent_block_shuffle", value, cell=2, fraction=1.0)

    def blocks(tensor: torch.Tensor) -> list[bytes]:
        return [tensor[:, y : y + 2, x : x + 2].numpy().tobytes() for y in range(0, 8, 2) for x in range(0, 8, 2)]

    assert sorted(blocks(moved)) == sorted(blocks(value))
    assert all(a != b for a, b in zip(blocks(moved), blocks(value), strict=True))
    half = damaged("latent_block_shuffle", value, 0.5, cell=2, fraction=1.0)
    assert sum(a != b for a, b in zip(blocks(half), blocks(value), strict=True)) == 8


def test_quantising_leaves_as_many_levels() -> None:
    for levels in (2, 3, 16):
        crushed = damaged("latent_quantize", latent(4, 32, 32), levels=levels, span=2.0)
        found = crushed.unique()
        assert 2 <= len(found) <= levels + 2  # the two ends, where the range is clipped
        assert len((found * 100).round().unique()) <= levels + 2


@pytest.mark.parametrize("direction", ["rows", "columns"])
def test_sorting_sorts_and_keeps_places_together(direction: str) -> None:
    value = latent(4, 12, 20)
    swap = (lambda tensor: tensor) if direction == "rows" else (lambda tensor: tensor.transpose(-2, -1))
    whole = {"fraction": 1.0, "span": 1.0, "direction": direction}
    each = swap(damaged("latent_sort", value, key="each channel", **whole))
    assert torch.equal(each.sort(-1).values, swap(value).sort(-1).values)
    rising = (each[..., 1:] >= each[..., :-1]).float().mean()
    assert rising > 0.9  # a line that begins within a stretch is sorted in two parts
    followed = swap(damaged("latent_sort", value, key="one channel", channel=6, **whole))
    assert (followed[2, :, 1:] >= followed[2, :, :-1]).float().mean() > 0.9
    before = sorted(map(tuple, swap(value).permute(1, 2, 0).reshape(-1, 4).tolist()))
    assert sorted(map(tuple, followed.permute(1, 2, 0).reshape(-1, 4).tolist())) == before


def test_the_spectrum_is_cut_where_asked() -> None:
    value = latent(4, 32, 32)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32)[None]) * 2
    spectrum = np.fft.rfft2(value.numpy())
    for mode, kept in (("cut highs", frequency <= 0.25), ("cut lows", frequency > 0.25)):
        kept = kept | (frequency == 0)
        changed = np.fft.rfft2(damaged("latent_spectrum", value, mode=mode, cutoff=0.25).numpy())
        assert np.allclose(changed, np.where(kept, spectrum, 0), atol=0.05)
    noisy = np.fft.rfft2(damaged("latent_spectrum", value, mode="phase noise", phase=1.0).numpy())
    inner = (slice(None), slice(1, 16), slice(1, 16))
    assert np.allclose(np.abs(noisy[inner]), np.abs(spectrum[inner]), atol=0.05)
    assert np.abs(np.angle(noisy[inner] / spectrum[inner])).mean() == pytest.approx(np.pi / 2, rel=0.1)


def test_mixtures_are_of_the_two() -> None:
    value, other = latent(4, 16, 16, seed=1), latent(4, 16, 16, seed=2)
    blend = damaged("latent_mixup", value, 0.5, others=[other], amount=0.5)
    assert torch.allclose(blend, 0.75 * value + 0.25 * other, atol=1e-4)
    assert torch.allclose(damaged("latent_mixup", value, amount=1.0), value.flip(-1), atol=1e-4)
    for mode in ("patch", "cells"):
        cut = damaged("latent_mixup", value, others=[other], mode=mode, amount=0.5, cell=1)
        theirs = (cut == other).all(0)
        assert torch.equal(theirs, ~(cut == value).all(0)) and 0.4 < theirs.float().mean() < 0.6
    with pytest.raises(ValueError, match="latents: got 16 channels beside 4"):
        damaged("latent_mixup", value, others=[latent(16, 16, 16)])


def test_holes_are_whole_cells_of_the_fill() -> None:
    value = latent(4, 32, 32)
    for fill, expected in (("zero", torch.zeros(4)), ("mean", value.mean(dim=(1, 2)))):
        holed = damaged("latent_holes", value, fraction=0.5, cell=4, fill=fill)
        lost = (holed != value).any(0).reshape(8, 4, 8, 4)
        assert torch.equal(lost.any(dim=3).any(dim=1), lost.all(dim=3).all(dim=1))
        assert lost.float().mean() == 0.5
        inside = holed[:, lost.reshape(32, 32)]
        assert torch.allclose(inside, expected[:, None].expand_as(inside), atol=1e-4)


def test_fewer_bits_are_pytorchs_and_the_grid_of_integers() -> None:
    value = latent(4, 16, 16)
    for name, kind in (("fp8 e4m3", torch.float8_e4m3fn), ("fp8 e5m2", torch.float8_e5m2)):
        assert torch.allclose(damaged("latent_precision", value, format=name), value.to(kind).float(), atol=1e-5)
    stored = damaged("latent_precision", value, format="int4")
    scale = value.abs().amax(dim=(1, 2), keepdim=True) / 7
    assert torch.allclose(
        stored,
        torch.fake_quantize_per_channel_affine(value, scale.flatten(), torch.zeros(4, dtype=torch.int32), 0, -7, 7),
        atol=1e-4,
    )
    assert torch.isfinite(damaged("latent_precision", value * 1e6, format="fp8 e4m3")).all()


def test_a_batch_is_no_latent() -> None:
    with pytest.raises(ValueError, match=r"latent: got shape \[1, 1, 4, 2, 2\], allowed"):
        damaged("latent_noise", torch.zeros(1, 1, 4, 2, 2))
