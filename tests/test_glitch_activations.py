"""Bends of activations. Oracles: SciPy's filters and NumPy's own sort and roll on the same numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.activations.features import FeatureBend
from glitch_lora.glitch.registry import all_operations, find_operation
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = [operation.name for operation in all_operations("activations")]


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def smooth(*shape: int) -> torch.Tensor:
    """Return features that neighbours share, as networks have them."""
    wide = features(*shape[:2], shape[2] + 6, shape[3] + 6)
    return torch.nn.functional.avg_pool2d(wide, 7, 1) * 7


def bent(name: str, x: torch.Tensor, severity: float = 1.0, seed: int = 3, **values: Any) -> torch.Tensor:
    return find_operation(name).apply(x, generator(seed), severity, **values)


def _value(parameter: Any) -> st.SearchStrategy:
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    number = st.floats if isinstance(parameter.default, float) else st.integers
    return number(type(parameter.default)(parameter.minimum), type(parameter.default)(parameter.maximum))


@pytest.mark.usefixtures("unchanged_random_state")
@given(
    data=st.data(),
    size=st.tuples(*[st.integers(1, 9)] * 4),
    tokens=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16]),
    severity=st.floats(0.01, 1),
)
@settings(max_examples=200, deadline=None)
def test_any_parameters_on_any_shape(data: Any, size: Any, tokens: bool, dtype: torch.dtype, severity: float) -> None:
    operation = find_operation(data.draw(st.sampled_from(NAMES)))
    values = {one.name: data.draw(_value(one)) for one in operation.parameters}
    x = features(*size[:3] if tokens else size).to(dtype)
    before = x.clone()
    once = operation.apply(x, generator(5), severity, **values)
    assert once.shape == x.shape and once.dtype == dtype and torch.isfinite(once).all()
    assert torch.equal(once, operation.apply(x, generator(5), severity, **values))
    assert torch.equal(x, before) and torch.equal(operation.apply(x, generator(5), 0.0, **values), x)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "activation_roll"])
def test_more_severity_is_more_change(name: str) -> None:
    x = smooth(1, 32, 32, 32)
    sizes = [float((bent(name, x, step / 10) - x).norm() / x.norm()) for step in range(1, 11)]
    assert sizes == sorted(sizes) and sizes[0] < 0.5 * sizes[-1] and sizes[-1] > 0.3


def test_blur_is_a_gauss() -> None:
    """Oracle: scipy.ndimage.gaussian_filter, radius as sigma, three sigmas wide, edges repeated."""
    from scipy.ndimage import gaussian_filter

    x = features(2, 3, 20, 24)
    expected = gaussian_filter(x.numpy(), (0, 0, 2, 2), mode="nearest", truncate=3.0)
    assert np.abs(bent("activation_blur", x, radius=2).numpy() - expected).max() < 1e-5
    half = gaussian_filter(x.numpy(), (0, 0, 1, 1), mode="nearest", truncate=6.0)
    assert np.abs(bent("activation_blur", x, 0.5, radius=2).numpy() - half).max() < 1e-5


@pytest.mark.parametrize(("name", "filter_name"), [("dilate", "maximum_filter"), ("erode", "minimum_filter")])
def test_dilation_and_erosion_are_rank_filters(name: str, filter_name: str) -> None:
    """Oracle: SciPy's maximum and minimum filter of 2 radius + 1 places."""
    from scipy import ndimage

    x = features(2, 3, 12, 15)
    expected = getattr(ndimage, filter_name)(x.numpy(), size=(1, 1, 5, 5), mode="nearest")
    assert np.array_equal(bent(f"activation_{name}", x, radius=2).numpy(), expected)


def test_sort_and_roll_are_numpys() -> None:
    x = features(2, 6, 8, 12)
    for axis, number in {"channels": 1, "rows": 2, "columns": 3}.items():
        assert np.array_equal(bent("activation_sort", x, axis=axis).numpy(), np.sort(x.numpy(), axis=number))
        rolled = np.roll(x.numpy(), round(x.shape[number] * 0.5), axis=number)
        assert np.array_equal(bent("activation_roll", x, axis=axis, fraction=0.5).numpy(), rolled)
    tokens = features(2, 8, 6)
    assert np.array_equal(bent("activation_sort", tokens).numpy(), np.sort(tokens.numpy(), axis=1))


def test_rotation_keeps_the_size_at_each_place() -> None:
    x = features(2, 9, 5, 5)
    turned = bent("activation_rotate", x, angle=70.0)
    assert torch.allclose(turned.norm(dim=1), x.norm(dim=1), atol=1e-5)
    cosine = float((turned * x).sum() / x.pow(2).sum())
    kept = float(x[:, (turned == x).flatten(2).all(2).all(0)].pow(2).sum() / x.pow(2).sum())
    assert cosine == pytest.approx(np.cos(np.radians(70)) * (1 - kept) + kept, abs=1e-5)


def test_each_value_operation_does_what_its_name_says() -> None:
    x = features(2, 40, 10, 10)
    assert torch.allclose(bent("activation_gain", x, gain=-2.0), -2 * x)
    cut = bent("activation_threshold", x, level=1.0)
    limit = x.std(dim=(1, 2, 3), correction=0, keepdim=True)
    assert torch.equal(cut, x * (x.abs() >= limit))
    assert torch.allclose(bent("activation_invert", x, around="zero"), -x)
    middle = x.mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(bent("activation_invert", x, around="mean"), 2 * middle - x, atol=1e-6)
    assert all(len(sample.unique()) <= 8 for sample in bent("activation_quantize", x, bits=3))
    silent = (bent("activation_ablate", x, fraction=0.25) == 0).flatten(2).all(2)
    assert silent.sum(1).tolist() == [10, 10]
    noise = bent("activation_noise", x, amount=2.0) - x
    assert float(noise.std()) == pytest.approx(2.0, rel=0.05)
    mixed = bent("activation_shuffle", x, what="places")
    assert torch.equal(mixed.flatten(2).sort().values, x.flatten(2).sort().values) and not torch.equal(mixed, x)


def test_only_a_part_of_the_features_and_always_the_same() -> None:
    x = features(2, 40, 6, 6)
    bend = FeatureBend("activation_invert", (("around", "zero"),), fraction=0.25, seed=7)
    first, other_place = bend(x, "input_blocks.1"), bend(x, "input_blocks.2")
    changed = (first != x).flatten(2).any(2).all(0)
    assert int(changed.sum()) == 10 and torch.equal(first[:, ~changed], x[:, ~changed])
    assert torch.equal(first, bend(x, "input_blocks.1")) and not torch.equal(first, other_place)
    assert torch.equal(bend(x[:1], "input_blocks.1"), first[:1]), "a batch gets what each gets alone"
    other_seed = FeatureBend("activation_invert", (("around", "zero"),), fraction=0.25, seed=8)
    assert not torch.equal(first, other_seed(x, "input_blocks.1"))
    tokens = x.flatten(2).transpose(1, 2)
    assert torch.equal(bend(tokens, "input_blocks.1").transpose(1, 2).reshape(x.shape), first)


def test_half_precision_stays_finite() -> None:
    x = torch.full((1, 4, 4, 4), 60000.0, dtype=torch.float16)
    assert torch.isfinite(FeatureBend("activation_gain", (("gain", 8.0),))(x, "here")).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"operation": "lora_noise"}, "allowed operations on activations"),
        ({"operation": "activation_gain", "severity": 2.0}, "severity: got 2.0, allowed 0 to 1"),
        ({"operation": "activation_gain", "fraction": -1.0}, "fraction: got -1.0, allowed 0 to 1"),
        ({"operation": "activation_gain", "parameters": (("gain", 99.0),)}, "gain: got 99.0, allowed -8 to 8"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FeatureBend(**values)
