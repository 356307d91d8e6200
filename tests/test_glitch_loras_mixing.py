"""Blends and transplants of LoRAs. Oracles: the dense products, and ComfyUI's own loader on tiny models."""

from typing import Any

import comfy.lora
import pytest
import torch
from adapters_for_tests import random_adapters
from glitch_lora.glitch.loras.bending import bend_lora
from glitch_lora.glitch.loras.blending import blend_loras, extrapolate_loras
from glitch_lora.glitch.loras.layers import norm
from glitch_lora.glitch.loras.state import read_lora
from glitch_lora.glitch.loras.transplant import Target, transplant_lora
from glitch_lora.host.families import family_of
from glitch_lora.host.lora_keys import apply_lora, lora_names, unmatched_keys
from glitch_lora.host.lora_targets import lora_targets
from glitch_lora.training.lora_file import FAMILY_WORDS, lora_state_dict
from tiny_models import tiny_clip, tiny_flux, tiny_sd15, tiny_sdxl

TINY = {"sd15": tiny_sd15, "sdxl": tiny_sdxl, "flux": tiny_flux}
SHAPES = {"down_blocks_0_attentions_0_attn1_to_q": (30, 40), "up_blocks_1_attentions_0_attn1_to_q": (40, 30)}
CONVOLUTION = "down_blocks_0_resnets_0_conv1"


def random_lora(seed: int, rank: int, alpha: float | None, prefix: str = "lora_unet_") -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (rows, columns) in SHAPES.items():
        tensors[f"{prefix}{name}.lora_up.weight"] = torch.randn(rows, rank, generator=source)
        tensors[f"{prefix}{name}.lora_down.weight"] = torch.randn(rank, columns, generator=source)
        if alpha is not None:
            tensors[f"{prefix}{name}.alpha"] = torch.tensor(alpha)
    tensors[f"{prefix}{CONVOLUTION}.lora_up.weight"] = torch.randn(12, rank, 1, 1, generator=source)
    tensors[f"{prefix}{CONVOLUTION}.lora_down.weight"] = torch.randn(rank, 8, 3, 3, generator=source)
    return tensors


def dense(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the product of each layer with its scale, written out by hand, without the name's prefix."""
    found = {}
    for key in tensors:
        if key.endswith(".lora_up.weight"):
            name = key.removesuffix(".lora_up.weight")
            up, down = tensors[key].double(), tensors[f"{name}.lora_down.weight"].double()
            scale = tensors[f"{name}.alpha"].item() / down.shape[0] if f"{name}.alpha" in tensors else 1.0
            short = name.removeprefix("lora_unet_").removeprefix("diffusion_model.").replace(".", "_")
            found[short] = scale * (up.flatten(1) @ down.flatten(1))
    return found


@pytest.fixture
def pair() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    return random_lora(1, 4, 2.0), random_lora(2, 6, None)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], within: float = 1e-4) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.allclose(one[name], other[name], atol=within), name


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, -2.0), (0.0, 1.0)])
def test_a_weighted_sum_is_exact(pair: Any, weights: tuple[float, float]) -> None:
    one, other = map(dense, pair)
    before = [{key: tensor.clone() for key, tensor in lora.items()} for lora in pair]
    result = blend_loras(pair, weights)
    same(dense(result.tensors), {name: weights[0] * one[name] + weights[1] * other[name] for name in one})
    assert all(torch.equal(lora[key], was[key]) for lora, was in zip(pair, before, strict=True) for key in was)


def test_four_loras_of_which_one_spells_otherwise(pair: Any) -> None:
    """Names that differ in prefix and dots only are one layer: ComfyUI would take the last of them alone."""
    dotted = {key.replace("lora_unet_", "diffusion_model."): tensor for key, tensor in random_lora(3, 2, 1.0).items()}
    loras = [*pair, dotted, random_lora(4, 3, 3.0)]
    result = blend_loras(loras, [1, 2, 3, 4])
    parts = [dense(lora) for lora in loras]
    same(dense(result.tensors), {n: sum(w * part[n] for w, part in enumerate(parts, 1)) for n in parts[0]})
    assert "3 layers shared, 3 written" in result.report
    average = dense(blend_loras(loras, [1, 1, 1, 1], method="average").tensors)
    same(average, {name: sum(part[name] for part in parts) / 4 for name in parts[0]})


def test_half_precision_keeps_its_digits() -> None:
    """A small alpha over a large rank must not take numbers to where half precision ends. Oracle: the exact sum."""
    halves = [{key: tensor.half() for key, tensor in random_lora(seed, 8, 0.001).items()} for seed in (1, 2)]
    halves = [
        {k: t * 0.01 if "lora_up" in k else t.float() if "alpha" in k else t for k, t in lora.items()}
        for lora in halves
    ]
    one, other = map(dense, halves)
    result = blend_loras(halves, [1, 1]).tensors
    assert {tensor.dtype for key, tensor in result.items() if "alpha" not in key} == {torch.float16}
    for name, blend in dense(result).items():
        wanted = one[name] + other[name]
        assert (blend - wanted).norm() < 1e-3 * wanted.norm()
    mixed = blend_loras([halves[0], {key: tensor.bfloat16() for key, tensor in halves[1].items()}], [1, 1]).tensors
    assert {tensor.dtype for tensor in mixed.values()} == {torch.float32}, "what holds the numbers of both"


@pytest.mark.parametrize("t", [-2.0, 0.0, 0.5, 1.0, 3.0])
def test_extrapolation_is_a_straight_line(pair: Any, t: float) -> None:
    one, other = map(dense, pair)
    same(dense(extrapolate_loras(*pair, t).tensors), {name: one[name] + t * (other[name] - one[name]) for name in one})


def test_cut_to_a_rank_it_is_the_best_approximation(pair: Any) -> None:
    """Oracle: torch's SVD of the dense sum (Eckart and Young)."""
    one, other = map(dense, pair)
    cut = blend_loras(pair, [1, 1], rank=3).tensors
    expected = {}
    for name in one:
        u, values, v = torch.linalg.svd(one[name] + other[name], full_matrices=False)
        expected[name] = u[:, :3] * values[:3] @ v[:3]
    same(dense(cut), expected)
    assert {layer.rank for layer in read_lora(cut).layers.values()} == {3}


def test_conflict_and_agreement_add_up(pair: Any) -> None:
    one, other = map(dense, pair)
    conflict = dense(blend_loras(pair, [1, 1], method="conflict only").tensors)
    agreement = dense(blend_loras(pair, [1, 1], method="agreement only").tensors)
    same({name: conflict[name] + agreement[name] for name in one}, {name: one[name] + other[name] for name in one})
    assert all(conflict[name].norm() > 0.1 * one[name].norm() for name in one)
    opposed = [pair[0], {key: -tensor if "up.w" in key else tensor for key, tensor in pair[0].items()}]
    assert all(
        part.norm() < 1e-4 for part in dense(blend_loras(opposed, [1, 1], method="agreement only").tensors).values()
    )
    alike = [pair[0], pair[0]]
    same(dense(blend_loras(alike, [1, 1], method="agreement only").tensors), {n: 2 * one[n] for n in one})


def test_orthogonal_parts_write_to_other_outputs(pair: Any) -> None:
    one, other = map(dense, pair)
    both = dense(blend_loras(pair, [1, 1], method="orthogonal").tensors)
    for name in one:
        added = both[name] - one[name]
        assert (one[name].T @ added).abs().max() < 1e-4
        assert 0.1 * other[name].norm() < added.norm() < other[name].norm()


def test_a_graft_reads_as_one_and_writes_as_the_other(pair: Any) -> None:
    """Row space of the first, column space of the second, strength between."""
    one, other = map(dense, pair)
    for name, graft in dense(blend_loras(pair, [1, 1], method="cross-graft").tensors).items():
        u = torch.linalg.svd(other[name]).U[:, :6]
        v = torch.linalg.svd(one[name]).Vh[:4]
        assert torch.allclose(u @ (u.T @ graft @ v.T) @ v, graft, atol=1e-4)
        assert float(graft.norm()) == pytest.approx(float((one[name].norm() * other[name].norm()) ** 0.5), rel=1e-4)


def test_blocks_that_are_not_named_stay_the_first_ones(pair: Any) -> None:
    result = blend_loras(pair, [1, 1], only_blocks="output")
    kept = [key for key in pair[0] if "up_blocks" not in key]
    assert kept and all(result.tensors[key] is pair[0][key] for key in kept)


def test_what_cannot_be_blended_is_refused_or_told(pair: Any) -> None:
    other = {
        key: torch.randn(9, tensor.shape[1]) if "to_q.lora_up" in key else tensor for key, tensor in pair[1].items()
    }
    with pytest.raises(ValueError, match=r"got the layer .*to_q in the shapes .*fit one of them with Transplant LoRA"):
        blend_loras([pair[0], other], [1, 1])
    strange = {key.replace("lora_unet_", "lora_te_"): tensor for key, tensor in pair[1].items()}
    assert "no layer in common" in blend_loras([pair[0], strange], [1, 1]).report
    with pytest.raises(ValueError, match="got 1 with 1 weights"):
        blend_loras(pair[:1], [1])
    with pytest.raises(ValueError, match="only_blocks: got 'midle', which names no layer"):
        blend_loras(pair, [1, 1], only_blocks="midle")
    broken = {key: tensor / 0 if "up_blocks" in key else tensor for key, tensor in pair[1].items()}
    with pytest.raises(ValueError, match="got numbers in lora_unet_up_blocks_1.* that are not finite"):
        blend_loras([pair[0], broken], [1, 1], method="orthogonal")


def test_cancel_is_seen_at_every_layer(pair: Any) -> None:
    class Cancelled(BaseException):
        pass

    def cancel() -> None:
        raise Cancelled

    target = Target({"a.attn1.to_q": (8, 8)}, {})
    for work in (
        lambda: blend_loras(pair, [1, 1], check=cancel),
        lambda: extrapolate_loras(*pair, 0.5, check=cancel),
        lambda: bend_lora(pair[0], "lora_noise", {}, check=cancel),
        lambda: transplant_lora(pair[0], target, check=cancel),
    ):
        with pytest.raises(Cancelled):
            work()


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return {family: make() for family, make in TINY.items()}


def family_lora(model: Any) -> dict[str, torch.Tensor]:
    family = family_of(model)
    layers = family.layers(model.model.diffusion_model, "all-linear+conv")
    style = FAMILY_WORDS[family.name].style
    return lora_state_dict(random_adapters(model, layers, 4, 2.0), lora_names(model), style, torch.float32)


def test_at_home_nothing_changes(models: Any) -> None:
    for model in models.values():
        lora = family_lora(model)
        result = transplant_lora(lora, Target(*lora_targets(model)))
        assert result.tensors.keys() == lora.keys() and all(result.tensors[key] is lora[key] for key in lora)
        assert f"Applied {len(read_lora(lora).layers)} of {len(read_lora(lora).layers)} layers" in result.report


@pytest.mark.parametrize("fit", ["crop and pad", "tile", "interpolate"])
@pytest.mark.parametrize(
    ("source", "home", "least"),
    [("sd15", "sdxl", 100), ("sdxl", "sd15", 100), ("sd15", "flux", 30), ("flux", "sd15", 20), ("flux", "sdxl", 20)],
)
def test_every_transplanted_key_is_one_that_comfyui_applies(models: Any, source: str, home: str, least: int, fit: Any):
    """Oracle: ComfyUI's loader and arithmetic: no key is missed, every patched weight changes and keeps its shape."""
    lora, model = family_lora(models[source]), models[home]
    result = transplant_lora(lora, Target(*lora_targets(model)), fit=fit)
    applied, total = (int(word) for word in result.report.split(" layers")[0].removeprefix("Applied ").split(" of "))
    assert total == len(read_lora(lora).layers) and applied >= least
    assert unmatched_keys(model, None, result.tensors) == []
    patched, _ = apply_lora(model, None, result.tensors, 1.0, 1.0)
    assert len(patched.patches) == len(read_lora(result.tensors).layers)
    for key, patches in patched.patches.items():
        weight = comfy.utils.get_attr(patched.model, key)
        changed = comfy.lora.calculate_weight(patches, weight.clone(), key)
        assert changed.shape == weight.shape and torch.isfinite(changed).all() and not torch.equal(changed, weight)
    assert model.patches == {}


def test_flat_convolutions_of_comfyuis_trainer_are_at_home_too(models: Any) -> None:
    lora = family_lora(models["sd15"])
    flat = {key: tensor if key.endswith("alpha") else tensor.flatten(1) for key, tensor in lora.items()}
    result = transplant_lora(flat, Target(*lora_targets(models["sd15"])))
    assert result.report.startswith("Applied 117 of 117 layers: 117 exact")
    assert all(result.tensors[key] is flat[key] for key in flat)


def test_without_forcing_none_fits_and_that_is_said(models: Any) -> None:
    result = transplant_lora(family_lora(models["flux"]), Target(*lora_targets(models["sd15"])), fit="exact only")
    assert result.tensors == {} and result.report.startswith("Applied 0 of 30 layers: 0 exact")


def test_numbers_that_are_none_are_named(models: Any) -> None:
    lora = family_lora(models["sd15"])
    broken = {key: tensor / 0 if "lora_up" in key else tensor for key, tensor in lora.items()}
    with pytest.raises(ValueError, match="got numbers in lora_unet_.* that are not finite"):
        transplant_lora(broken, Target(*lora_targets(models["sdxl"])))


def test_fused_attention_is_taken_apart_by_rows(models: Any) -> None:
    """FLUX's qkv on SD1.5: each third of its outputs becomes a layer; same size here, so the rows are the same."""
    lora = {key: tensor for key, tensor in family_lora(models["flux"]).items() if "double_blocks.0.img_attn.qkv" in key}
    result = transplant_lora(lora, Target(*lora_targets(models["sd15"])), keep_norm=False)
    (whole,) = read_lora(lora).layers.values()
    parts = read_lora(result.tensors).layers
    assert len(parts) == 3
    for letter, rows in zip("qkv", whole.delta().split(64), strict=True):
        (part,) = (layer for name, layer in parts.items() if name.endswith(f"attn1_to_{letter}"))
        assert part.shape == (64, 64) and torch.allclose(part.delta(), rows, atol=1e-5)


def test_separate_attention_is_put_together(models: Any) -> None:
    """SD1.5's q, k, v of one block on FLUX: the three thirds of one weight, of unchanged size."""
    start = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_"
    lora = {
        key: tensor for key, tensor in family_lora(models["sd15"]).items() if key.startswith(start) and "out" not in key
    }
    result = transplant_lora(lora, Target(*lora_targets(models["flux"])), keep_norm=False)
    ((name, fused),) = read_lora(result.tensors).layers.items()
    assert name == "diffusion_model.double_blocks.0.img_attn.qkv"
    expected = torch.cat([read_lora(lora).layers[f"{start}{letter}"].delta() for letter in "qkv"])
    assert torch.allclose(fused.delta(), expected, atol=1e-5)


def test_resized_layers_keep_their_strength(models: Any) -> None:
    lora = family_lora(models["sd15"])
    for fit in ("crop and pad", "tile", "interpolate"):
        result = transplant_lora(lora, Target(*lora_targets(models["sdxl"])), fit=fit)
        before, after = (
            sum(norm(layer) ** 2 for layer in read_lora(tensors).layers.values()) for tensors in (lora, result.tensors)
        )
        assert 0.8 < after / before <= 1.001


def test_text_encoders_change_only_where_one_is_given(models: Any) -> None:
    key = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    lora = {f"{key}.lora_down.weight": torch.ones(1, 64), f"{key}.lora_up.weight": torch.ones(128, 1)}
    clip = tiny_clip("sd15")
    assert transplant_lora(lora, Target(*lora_targets(models["sd15"]))).tensors == {}
    result = transplant_lora(lora, Target(*lora_targets(models["sd15"], clip)))
    assert result.tensors.keys() == lora.keys()
    patched = apply_lora(models["sd15"], clip, result.tensors, 1.0, 1.0)[1]
    assert list(patched.patcher.patches) == ["clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight"]
