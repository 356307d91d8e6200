"""Bends of LoRAs. Oracles: the dense product in float64, torch's own SVD of it, and formulas for random factors."""

import math
from typing import Any

import pytest
import torch
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.loras.bending import bend_lora
from glitch_lora.glitch.loras.layers import Layer, difference, norm, singular
from glitch_lora.glitch.loras.names import place
from glitch_lora.glitch.loras.state import read_lora
from glitch_lora.glitch.registry import all_operations, find_operation
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = [operation.name for operation in all_operations("loras")]
PLACES = [f"lora_unet_{part}_blocks_{number}_attentions_0_attn1_to_q" for part in ("down", "up") for number in range(8)]
RANK = 16


def random_lora(
    names: list[str] = PLACES, rows: int = 400, columns: int = 400, rank: int = RANK, alpha: float | None = 8.0
) -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(7)
    tensors = {}
    for name in names:
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, columns, generator=source)
        tensors[f"{name}.lora_up.weight"] = torch.randn(rows, rank, generator=source)
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


@pytest.fixture(scope="module")
def lora() -> dict[str, torch.Tensor]:
    return random_lora()


def dense(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return alpha / r * up @ down of each layer, written out by hand from the file's tensors."""
    found = {}
    for key in tensors:
        if key.endswith(".lora_up.weight"):
            name = key.removesuffix(".lora_up.weight")
            up, down = tensors[key].double(), tensors[f"{name}.lora_down.weight"].double()
            alpha = tensors.get(f"{name}.alpha")
            scale = 1.0 if alpha is None else alpha.item() / down.shape[0]
            found[name] = scale * (up.flatten(1) @ down.flatten(1))
    return found


def change(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> float:
    one, other = dense(before), dense(after)
    moved = sum(float((other[name] - one[name]).pow(2).sum()) for name in one)
    return math.sqrt(moved / sum(float(part.pow(2).sum()) for part in one.values()))


def bent(tensors: dict[str, torch.Tensor], name: str, **values: Any) -> dict[str, torch.Tensor]:
    return bend_lora(tensors, name, values, seed=1).tensors


@pytest.mark.parametrize(
    ("name", "values", "expected", "within"),
    [
        ("lora_spectrum", {"shape": "flatten"}, 0.14, 0.03),
        ("lora_spectrum", {"shape": "reverse"}, 0.27, 0.04),
        ("lora_rank_scramble", {"how": "permute"}, math.sqrt(2), 0.02),
        ("lora_rank_scramble", {"how": "flip signs", "fraction": 0.5}, math.sqrt(2), 0.03),
        ("lora_rank_scramble", {"how": "rotate", "angle": 60.0}, 2 * math.sin(math.pi / 6), 0.02),
        ("lora_roll", {"channels": 8}, math.sqrt(2), 0.02),
        ("lora_roll", {"how": "flip"}, math.sqrt(2), 0.02),
        ("lora_roll", {"how": "shuffle", "side": "both"}, math.sqrt(2), 0.02),
        ("lora_layer_shuffle", {}, math.sqrt(2), 0.02),
        ("lora_quantize", {"bits": 8}, 0.01, 0.005),
        ("lora_quantize", {"bits": 4}, 0.20, 0.02),
        ("lora_quantize", {"bits": 3}, 0.43, 0.04),
        ("lora_noise", {"amount": 0.5}, math.sqrt(2 * 0.25 + 0.0625), 0.02),
        ("lora_prune", {"what": "random numbers", "fraction": 0.5}, math.sqrt(0.5), 0.02),
        ("lora_prune", {"what": "random numbers", "fraction": 0.5, "rescale": True}, 1.0, 0.02),
        ("lora_block_weights", {"input_blocks": 0.0, "output_blocks": 1.0}, math.sqrt(0.5), 0.02),
    ],
)
def test_how_much_a_random_lora_changes(lora: Any, name: str, values: dict[str, Any], expected: float, within: float):
    """Against what independent normal factors must give, or what was measured for rank 16 elsewhere."""
    assert change(lora, bent(lora, name, **values)) == pytest.approx(expected, abs=within)


@pytest.mark.parametrize("name", NAMES)
def test_more_severity_is_more_change(lora: Any, name: str) -> None:
    sizes = [change(lora, bend_lora(lora, name, {}, severity=step / 10, seed=1).tensors) for step in range(1, 11)]
    assert sizes == sorted(sizes) and sizes[-1] > 0.1 and sizes[0] < sizes[-1] / 1.5


@pytest.mark.parametrize("name", NAMES)
def test_deterministic_input_unchanged_and_an_exact_copy_at_0(name: str) -> None:
    lora = random_lora(PLACES[:4], 24, 20, 4)
    before = {key: tensor.clone() for key, tensor in lora.items()}
    once, again = bent(lora, name), bent(lora, name)
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert all(torch.equal(lora[key], before[key]) for key in before)
    untouched = bend_lora(lora, name, {}, severity=0.0).tensors
    assert untouched.keys() == lora.keys() and all(untouched[key] is lora[key] for key in lora)


@pytest.mark.usefixtures("unchanged_random_state")
@given(data=st.data(), rows=st.integers(1, 9), columns=st.integers(1, 9), rank=st.integers(1, 6), conv=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_parameters_on_any_small_layer(data: Any, rows: int, columns: int, rank: int, conv: bool) -> None:
    """Shapes stay those of the weight, numbers finite, dtypes as they were; ranks above the weight's size too."""
    operation = find_operation(data.draw(st.sampled_from(NAMES)))
    values = {one.name: data.draw(_values(one)) for one in operation.parameters}
    lora = random_lora(PLACES[:3], rows, columns, rank)
    if conv:
        lora = {key: _as_convolution(key, tensor) for key, tensor in lora.items()}
    lora = {key: tensor if key.endswith("alpha") else tensor.half() for key, tensor in lora.items()}
    result = bend_lora(lora, operation.name, values, severity=data.draw(st.floats(0.01, 1)), norm_match=True)
    before, after = read_lora(lora).layers, read_lora(result.tensors).layers
    assert before.keys() == after.keys()
    for name, layer in after.items():
        assert layer.shape == before[name].shape and layer.down.dim() == before[name].down.dim()
        assert torch.isfinite(layer.up).all() and torch.isfinite(layer.down).all()
        assert norm(layer) == pytest.approx(norm(before[name]), rel=2e-2, abs=1e-4) or norm(layer) < 1e-3


def _values(parameter: Any) -> st.SearchStrategy:
    if parameter.choices:
        return st.sampled_from(parameter.choices)
    if isinstance(parameter.default, bool):
        return st.booleans()
    if isinstance(parameter.default, str):
        return st.sampled_from(["", "down", "to_q"])
    number = st.floats if isinstance(parameter.default, float) else st.integers
    low, high = type(parameter.default)(parameter.minimum), type(parameter.default)(parameter.maximum)
    return number(low, high)


def _as_convolution(key: str, tensor: torch.Tensor) -> torch.Tensor:
    if key.endswith("down.weight"):
        return tensor[:, :, None, None].expand(*tensor.shape, 3, 3).clone()
    return tensor[:, :, None, None] if key.endswith("up.weight") else tensor


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lora_layer_shuffle"])
def test_the_result_does_not_depend_on_how_the_product_is_stored(name: str) -> None:
    """Scaling one factor up and the other down is no change: where it matters, bends act on the product."""
    lora = random_lora(PLACES[7:9], 32, 24, 5)
    other = {key: tensor * _scaling(key) for key, tensor in lora.items()}
    assert change(lora, other) < 1e-6
    assert change(bent(lora, name), bent(other, name)) < 1e-3


def _scaling(key: str) -> float:
    return 4.0 if "lora_down" in key else 0.25 if "lora_up" in key else 1.0


def test_singular_values_are_those_of_the_dense_product() -> None:
    """Oracle: torch.linalg.svd of the whole product."""
    source = torch.Generator().manual_seed(3)
    up, down = torch.randn(30, 6, generator=source).double(), torch.randn(6, 50, generator=source).double()
    w, values, v = singular(up, down)
    assert torch.allclose(values, torch.linalg.svd(up @ down).S[:6])
    assert torch.allclose(w * values @ v, up @ down)


@pytest.mark.parametrize("shape", ["flatten", "reverse", "power", "keep top", "drop top", "boost tail", "clip"])
def test_the_spectrum_is_what_was_asked_for(shape: str) -> None:
    lora = random_lora(PLACES[:1], 40, 30, 8, alpha=None)
    name = PLACES[0]
    before = torch.linalg.svd(dense(lora)[name]).S[:8]
    after = torch.linalg.svd(dense(bent(lora, "lora_spectrum", shape=shape, power=3.0, top=0.25, boost=5.0))[name]).S[
        :8
    ]
    expected = {
        "flatten": before.mean().expand(8),
        "reverse": before,
        "power": before[0] * (before / before[0]) ** 3,
        "keep top": before * torch.tensor([1, 1, 0, 0, 0, 0, 0, 0]),
        "drop top": torch.cat((before[2:], torch.zeros(2))),
        "boost tail": torch.cat((before[:2], 5 * before[2:])).sort(descending=True).values,
        "clip": before.clamp(max=before[2]),
    }[shape]
    assert torch.allclose(after, expected, atol=1e-4)


def test_norms_match_layer_by_layer(lora: Any) -> None:
    matched = dense(bend_lora(lora, "lora_noise", {"amount": 2.0}, norm_match=True).tensors)
    for name, before in dense(lora).items():
        assert float(matched[name].norm()) == pytest.approx(float(before.norm()), rel=1e-5)
    assert change(lora, bent(lora, "lora_noise", amount=2.0)) > 2


def test_only_named_blocks_change_and_the_report_is_the_dense_change(lora: Any) -> None:
    result = bend_lora(lora, "lora_noise", {}, seed=5, only_blocks="^output [0-3]$")
    same = [key for key in lora if result.tensors[key] is lora[key]]
    assert len(same) == len(lora) - 4 * 3 and not any("up_blocks_0" in key for key in same)
    named = {key: tensor for key, tensor in lora.items() if any(f"up_blocks_{block}_" in key for block in range(4))}
    assert f"Relative change {change(named, {key: result.tensors[key] for key in named}):.3f} over 4 of 16 layers" in (
        result.report
    )
    assert result.report.count("  output ") == 4
    with pytest.raises(ValueError, match=r"only_blocks: got 'middle', which names no layer, .*such as input 0"):
        bend_lora(lora, "lora_noise", {}, only_blocks="middle")
    with pytest.raises(ValueError, match=r"only_blocks: got '\('"):
        bend_lora(lora, "lora_noise", {}, only_blocks="(")


def test_a_pattern_counts_without_the_line_end_of_its_box(lora: Any) -> None:
    half = {"input_blocks": 1.0, "output_blocks": 1.0, "pattern": " up_blocks \n", "pattern_strength": 0.0}
    assert change(lora, bent(lora, "lora_block_weights", **half)) == pytest.approx(math.sqrt(0.5), abs=0.02)
    assert change(lora, bent(lora, "lora_block_weights", **half | {"pattern": "\n"})) == 0
    with pytest.raises(ValueError, match=r"^pattern: got '\('"):
        bent(lora, "lora_block_weights", pattern="(")


def test_roll_moves_whole_channels_of_a_convolution() -> None:
    """Oracle: torch.roll on the dense weight."""
    name = "lora_unet_down_blocks_0_resnets_0_conv1"
    source = torch.Generator().manual_seed(3)
    layer = Layer(torch.randn(4, 6, 3, 3, generator=source), torch.randn(10, 4, 1, 1, generator=source), 4.0)
    apply = find_operation("lora_roll").apply
    for side, dims in {"output": (0,), "input": (1,), "both": (0, 1)}.items():
        moved = apply({name: layer}, generator(0), 1.0, channels=2, side=side)[name]
        assert torch.allclose(moved.delta(), layer.delta().roll([2] * len(dims), dims), atol=1e-5)


def test_flipped_bits_stay_finite_and_small() -> None:
    lora = random_lora(PLACES[:2], 64, 64, 8)
    for bit in range(16):
        broken = bent(lora, "lora_bit_flip", probability=1.0, bit=bit, limit=2.0)
        for key, tensor in lora.items():
            assert torch.isfinite(broken[key]).all()
            assert broken[key].abs().max() <= 2.001 * tensor.abs().max()
    assert change(lora, bent(lora, "lora_bit_flip", probability=1.0, bit=15)) < 1e-3, "both signs turned are none"


def test_every_spelling_is_read_and_kept() -> None:
    """The names ComfyUI's own loader knows (comfy/weight_adapter/lora.py)."""
    spellings = [
        (".lora_up.weight", ".lora_down.weight"),
        ("_lora.up.weight", "_lora.down.weight"),
        (".lora_B.weight", ".lora_A.weight"),
        (".lora.up.weight", ".lora.down.weight"),
        (".lora_B", ".lora_A"),
        (".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
        (".lora_B.default.weight", ".lora_A.default.weight"),
    ]
    for up, down in spellings:
        lora = {f"layer{up}": torch.ones(4, 2), f"layer{down}": torch.ones(2, 3), "layer.alpha": torch.tensor(1.0)}
        result = bent(lora, "lora_block_weights", pattern="layer", pattern_strength=2.0)
        assert result.keys() == lora.keys() and not torch.equal(result[f"layer{up}"], lora[f"layer{up}"])
        assert read_lora(lora).others == {}


def test_other_adapters_are_passed_on_and_named() -> None:
    lora = random_lora(PLACES[:1], 8, 8, 2) | {
        "a.lokr_w1": torch.ones(2, 2),
        "a.alpha": torch.tensor(1.0),
        "b.hada_w1_a": torch.ones(2, 2),
        "c.diff": torch.ones(2),
        "d.lora_up.weight": torch.ones(4, 2),
        "d.lora_down.weight": torch.ones(2, 4),
        "d.dora_scale": torch.ones(4, 1),
    }
    result = bend_lora(lora, "lora_noise", {})
    assert result.tensors.keys() == lora.keys()
    assert all(result.tensors[key] is lora[key] for key in lora if not key.startswith("lora_unet"))
    for words in ("LoKr: 2 keys", "LoHa: 1 keys", "whole weights: 1 keys", "DoRA: 3 keys"):
        assert words in result.report
    with pytest.raises(ValueError, match=r"adapters of another kind \(LoKr\), allowed LoRAs of two factors"):
        bend_lora({"a.lokr_w1": torch.ones(2, 2)}, "lora_noise", {})


def test_a_lora_that_is_broken_already_is_named() -> None:
    lora = random_lora(PLACES[:2], 8, 8, 2)
    lora[f"{PLACES[1]}.lora_up.weight"][0, 0] = torch.nan
    with pytest.raises(ValueError, match=rf"got numbers in {PLACES[1]} that are not finite"):
        bend_lora(lora, "lora_spectrum", {})
    bend_lora(lora, "lora_spectrum", {}, only_blocks="input 0")


def test_operations_on_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="operation: got 'jpeg_recompression', allowed operations on loras"):
        bend_lora(random_lora(PLACES[:1], 4, 4, 1), "jpeg_recompression", {})


def test_a_middle_factor_is_part_of_the_product() -> None:
    """LoCon's Tucker form; oracle: ComfyUI's own adapter on a weight of zeros."""
    from comfy.weight_adapter.lora import LoRAAdapter

    source = torch.Generator().manual_seed(3)
    up, mid = torch.randn(5, 3, 1, 1, generator=source), torch.randn(3, 3, 3, 3, generator=source)
    down = torch.randn(3, 4, 1, 1, generator=source)
    lora = {"x.lora_up.weight": up, "x.lora_down.weight": down, "x.lora_mid.weight": mid, "x.alpha": torch.tensor(1.5)}
    theirs = LoRAAdapter(set(), (up, down, 1.5, mid, None, None))
    weight = theirs.calculate_weight(torch.zeros(5, 4, 3, 3), "x", 1.0, 1.0, None, lambda weight: weight)
    layer = read_lora(lora).layers["x"]
    assert torch.allclose(layer.delta().float(), weight, atol=1e-5)
    doubled = bent(lora, "lora_block_weights", pattern="x", pattern_strength=2.0)
    assert torch.allclose(read_lora(doubled).layers["x"].delta(), 2 * layer.delta(), atol=1e-5)


def test_norm_and_difference_are_those_of_the_dense_products() -> None:
    one, other = read_lora(random_lora(PLACES[:2], 30, 20, 4)).layers.values()
    assert norm(one) == pytest.approx(float(one.delta().norm()))
    assert difference(one, other) == pytest.approx(float((one.delta() - other.delta()).norm()))


@pytest.mark.parametrize(
    ("name", "part", "kind"),
    [
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", "input", "attention"),
        ("lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj", "middle", "feed-forward"),
        ("lora_unet_output_blocks_5_2_conv", "output", "convolution"),
        ("lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k", "input", "attention"),
        ("diffusion_model.double_blocks.3.img_mlp.0", "input", "feed-forward"),
        ("diffusion_model.single_blocks.17.linear1", "output", "attention"),
        ("transformer.single_transformer_blocks.7.attn.to_q", "output", "attention"),
        ("lora_te1_text_model_encoder_layers_3_self_attn_k_proj", "text", "attention"),
        ("lora_unet_time_embed_0", "other", "other"),
    ],
)
def test_names_tell_the_place(name: str, part: str, kind: str) -> None:
    assert (place(name).part, place(name).kind) == (part, kind)
