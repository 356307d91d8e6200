"""Bends of running models, through ComfyUI's own sampler on tiny models of its own classes.

Oracles: the sampler on the untouched MODEL, ComfyUI's own UNet self-attention node, and arithmetic on the network's
outputs.
"""

from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.sample
import comfy.supported_models
import pytest
import torch
from glitch_lora.glitch.activations.features import FeatureBend
from glitch_lora.host.bending import bend_model
from glitch_lora.host.description import fingerprint
from glitch_lora.host.identity import model_identity
from glitch_lora.host.network_blocks import Choice, chosen_blocks, network_blocks
from random_checkpoint import random_weights
from tiny_models import tiny_clip, tiny_flux, tiny_sd15, tiny_sdxl

TINY = {"sd15": tiny_sd15, "sdxl": tiny_sdxl, "flux": tiny_flux}
SITES = ("block output", "norm output", "attention")
GAIN = FeatureBend("activation_gain", (("gain", 1.5),))
NOISE = FeatureBend("activation_noise", (("amount", 0.5),), seed=4)


@pytest.fixture(scope="module", params=sorted(TINY))
def scene(request: Any) -> tuple[str, Any, Any]:
    """Return (family, MODEL, its conditioning)."""
    clip = tiny_clip(request.param)
    conditioning = [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a cat", "")]
    return request.param, TINY[request.param](), conditioning


@pytest.fixture(scope="module")
def unet() -> tuple[str, Any, Any]:
    clip = tiny_clip("sd15")
    return "sd15", tiny_sd15(), [clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a cat", "")]


def draw(scene: tuple[str, Any, Any], model: Any = None, batch: int = 1, **settings: Any) -> torch.Tensor:
    """Return what KSampler makes with the scene's MODEL, or with `model`."""
    family, base, (positive, negative) = scene
    latent = torch.zeros(batch, 16 if family == "flux" else 4, 8, 8)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(3))
    values = {"steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "disable_pbar": True} | settings
    with torch.inference_mode():
        return comfy.sample.sample(
            base if model is None else model, noise, positive=positive, negative=negative, latent_image=latent, seed=3,
            **values,
        )  # fmt: skip


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether two pictures differ by rounding errors only."""
    return bool((one - other).norm() < 1e-4 * other.norm())


def hooks(model: Any) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.model.modules())


@pytest.mark.parametrize("site", SITES)
def test_it_acts_repeats_and_comes_off(scene: Any, site: Any) -> None:
    _, model, _ = scene
    identity = fingerprint(model_identity(model))
    weights = {name: value.clone() for name, value in model.model.state_dict().items()}
    plain = draw(scene)
    bent, _ = bend_model(model, NOISE, site)
    first = draw(scene, bent)
    assert torch.isfinite(first).all() and (first - plain).norm() > 0.01 * plain.norm()
    assert torch.equal(draw(scene, bent), first)
    assert torch.equal(draw(scene), plain), "whoever has the MODEL without the bend has it plain"
    assert hooks(model) == 0 and bent.model is model.model, "no copy, nothing left behind"
    assert all(torch.equal(weights[name], value) for name, value in model.model.state_dict().items())
    assert fingerprint(model_identity(model)) == identity != fingerprint(model_identity(bent))


@pytest.mark.parametrize("site", SITES)
def test_severity_0_and_the_whole_of_nothing_are_the_same_bits(scene: Any, site: Any) -> None:
    _, model, _ = scene
    plain = draw(scene)
    for still in (
        FeatureBend("activation_noise", severity=0.0),
        FeatureBend("activation_noise", fraction=0.0),
        FeatureBend("activation_gain", (("gain", 1.0),)),
    ):
        assert torch.equal(draw(scene, bend_model(model, still, site)[0]), plain)


@pytest.mark.parametrize("site", SITES)
def test_two_bends_both_act_once_each(scene: Any, site: Any) -> None:
    """Two gains on one place are one gain of their product; gains that undo each other leave the model as it was."""
    _, model, _ = scene
    once = bend_model(model, FeatureBend("activation_gain", (("gain", 3.0),)), site)[0]
    twice = bend_model(bend_model(model, GAIN, site)[0], FeatureBend("activation_gain", (("gain", 2.0),)), site)[0]
    assert close(draw(scene, twice), draw(scene, once))
    back = bend_model(bend_model(model, FeatureBend("activation_gain", (("gain", 2.0),)), site)[0],
                      FeatureBend("activation_gain", (("gain", 0.5),)), site)[0]  # fmt: skip
    assert close(draw(scene, back), draw(scene))


def test_bends_of_different_sites_compose(scene: Any) -> None:
    _, model, _ = scene
    chained = model
    seen = [draw(scene)]
    for site in SITES:
        chained = bend_model(chained, NOISE, site)[0]
        seen.append(draw(scene, chained))
        assert not any(torch.equal(seen[-1], other) for other in seen[:-1])


def test_two_clones_in_turns_do_not_leak(scene: Any) -> None:
    _, model, _ = scene
    one, other = (bend_model(model, bend)[0] for bend in (NOISE, GAIN))
    alone = [draw(scene, one), draw(scene, other)]
    for _ in range(2):
        assert torch.equal(draw(scene, one), alone[0]) and torch.equal(draw(scene, other), alone[1])


@pytest.mark.parametrize("error", [RuntimeError, comfy.model_management.InterruptProcessingException])
@pytest.mark.parametrize("site", SITES)
def test_nothing_stays_after_failure_and_interrupt(scene: Any, site: Any, error: Any) -> None:
    """Thrown from the middle of the network, as an out-of-memory error is, and between two steps, as Cancel does."""
    _, model, _ = scene
    plain = draw(scene)

    def breaking(x: torch.Tensor, place: str) -> torch.Tensor:
        raise error()

    def stop(step: int, *_: Any) -> None:
        raise error()

    inside = bend_model(bend_model(model, NOISE)[0], breaking, site)[0]
    between = bend_model(model, NOISE, site)[0]
    for bent, settings in ((inside, {}), (between, {"callback": stop})):
        with pytest.raises(error):
            draw(scene, bent, **settings)
        assert hooks(model) == 0
        assert torch.equal(draw(scene), plain)


def test_the_window_is_a_part_of_sampling(scene: Any) -> None:
    """Oracle: the sigmas at which the bend is called, against the schedule."""
    _, model, _ = scene
    sampling = model.get_model_object("model_sampling")
    calls: list[str] = []

    def counting(x: torch.Tensor, place: str) -> torch.Tensor:
        calls.append(place)
        return x

    first = chosen_blocks(model, Choice())[0]
    counts = {}
    for start, end in ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0)):
        calls.clear()
        bent = bend_model(model, counting, start_percent=start, end_percent=end)[0]
        draw(scene, bent, steps=8, scheduler="simple")
        counts[start, end] = calls.count(first)
    from comfy.samplers import calculate_sigmas

    sigmas = calculate_sigmas(sampling, "simple", 8)[:-1].double()
    middle = sampling.percent_to_sigma(0.5)
    assert counts[0.0, 1.0] in (8, 16), "once or twice a step: with the negative prompt in one batch or apart"
    calls_a_step = counts[0.0, 1.0] // 8
    assert counts[0.0, 0.5] == int((sigmas >= middle).sum()) * calls_a_step
    assert counts[0.5, 1.0] == int((sigmas <= middle).sum()) * calls_a_step
    assert min(counts.values()) > 0


def test_a_batch_is_what_its_pictures_are_alone(scene: Any) -> None:
    """The drawn pattern is the same for all of a batch, so that a batch is no other thing than its pictures."""
    _, model, _ = scene
    bent = bend_model(model, NOISE)[0]
    assert close(draw(scene, bent, batch=2)[:1], draw(scene, bent))


def test_a_silent_block_output_is_zero_for_what_follows(unet: Any) -> None:
    """Oracle: the network with the block's last layer replaced by zeros, by hand."""
    _, model, _ = unet
    silent, blocks = bend_model(model, FeatureBend("activation_gain", (("gain", 0.0),)), choice=Choice("middle"))
    assert blocks == ("middle_block",)
    twin = tiny_sd15()
    twin.model.diffusion_model.middle_block[-1] = _Zero()
    assert close(draw(unet, silent), draw(unet, twin))


class _Zero(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def test_attention_gains_equal_comfyuis_own_multiply_node(unet: Any) -> None:
    """Oracle: UNetSelfAttentionMultiply and UNetCrossAttentionMultiply, which scale weights of the projections."""
    from comfy_extras.nodes_attention_multiply import UNetCrossAttentionMultiply, UNetSelfAttentionMultiply

    _, model, _ = unet
    ones = {"q": 1.0, "k": 1.0, "v": 1.0, "out": 1.0}
    for kind, node in (("self", UNetSelfAttentionMultiply), ("cross", UNetCrossAttentionMultiply)):
        for part, letter in (("query", "q"), ("key", "k"), ("value", "v")):
            ours = draw(unet, bend_model(model, GAIN, "attention", part=part, kind=kind)[0])
            theirs = draw(unet, node.execute(model, **ones | {letter: 1.5}).result[0])
            assert close(ours, theirs), (kind, part)
            assert not close(ours, draw(unet))


def test_shuffled_values_are_a_shuffled_attention_map(unet: Any) -> None:
    """A bend of attention changes the result, and a temperature of infinity makes that shuffle no difference."""
    _, model, _ = unet
    shuffle = FeatureBend("activation_shuffle", seed=2)
    shuffled = draw(unet, bend_model(model, shuffle, "attention", part="value", kind="self")[0])
    assert not close(shuffled, draw(unet))
    flat = bend_model(model, FeatureBend("activation_gain", (("gain", 0.0),)), "attention", part="query", kind="self")[
        0
    ]
    both = bend_model(flat, shuffle, "attention", part="value", kind="self")[0]
    assert close(draw(unet, both), draw(unet, flat))


@pytest.mark.parametrize("site", ["block output", "attention"])
def test_places_of_a_picture_are_rows_and_columns(scene: Any, site: Any) -> None:
    """Whatever the network works on, planes or tokens, a bend sees the grid of the latent at some scale, 8x8 here."""
    _, model, _ = scene
    seen: set[tuple[int, ...]] = set()

    def looking(x: torch.Tensor, place: str) -> torch.Tensor:
        seen.add(tuple(x.shape[2:]) if x.dim() == 4 else ())
        return x

    draw(scene, bend_model(model, looking, site, part="output", kind="self")[0])
    assert seen and seen <= {(8, 8), (4, 4), (2, 2)}


def test_blocks_can_be_chosen_by_part_number_and_pattern() -> None:
    unet, flux = tiny_sd15(), tiny_flux()
    assert chosen_blocks(unet, Choice("input", 1, 2)) == ("input_blocks.1", "input_blocks.2")
    assert chosen_blocks(unet, Choice("output", 2)) == ("output_blocks.2", "output_blocks.3")
    assert chosen_blocks(unet, Choice("pattern", pattern="middle|blocks.3$")) == (
        "input_blocks.3", "middle_block", "output_blocks.3",
    )  # fmt: skip
    assert chosen_blocks(flux, Choice("input")) == ("double_blocks.0", "double_blocks.1")
    assert chosen_blocks(flux, Choice("pattern", pattern="single_blocks.1")) == ("single_blocks.1",)
    assert len(chosen_blocks(flux, Choice())) == 4
    with pytest.raises(ValueError, match=r"layers: got middle .*allowed blocks of this model: double_blocks\.0"):
        chosen_blocks(flux, Choice("middle"))
    with pytest.raises(ValueError, match=r"layers: got input .*first \(5\) is larger than last \(2\)"):
        chosen_blocks(unet, Choice("input", 5, 2))
    with pytest.raises(ValueError, match=r"pattern: got '\['"):
        chosen_blocks(flux, Choice("pattern", pattern="["))


def test_of_text_and_picture_the_picture_is_bent() -> None:
    """SD3 asks for no wrappers around its network, and its blocks give the text first.

    Oracle: the network whose last norm, which sees the last block's tokens of the picture, is silenced by hand.
    """
    config = comfy.supported_models.SD3({
        "in_channels": 16, "depth": 2, "num_patches": 64, "pos_embed_max_size": 8, "adm_in_channels": 32,
        "context_size": 64, "context_embedder_config": {"target": "torch.nn.Linear", "params":
            {"in_features": 64, "out_features": 128}},
    })  # fmt: skip
    network = config.get_model({}, device="cpu")
    network.diffusion_model.load_state_dict(random_weights(network.diffusion_model, 0))
    model = comfy.model_patcher.CoreModelPatcher(
        network.eval().requires_grad_(False), load_device=torch.device("cpu"), offload_device=torch.device("cpu")
    )
    text = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(1))
    conditioning = [[text, {"pooled_output": text[:, 0, :32]}]]
    noise = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(3))
    seen: list[tuple[str, tuple[int, ...]]] = []

    def looking(x: torch.Tensor, place: str) -> torch.Tensor:
        seen.append((place, tuple(x.shape)))
        return torch.zeros_like(x) if place.endswith("1") else x

    def made(bent: Any) -> torch.Tensor:
        with torch.inference_mode():
            return comfy.sample.sample(
                bent, noise, 1, 1.0, "euler", "simple", conditioning, conditioning, torch.zeros_like(noise), seed=3
            )

    silent = made(bend_model(model, looking)[0])
    assert seen == [("joint_blocks.0", (1, 128, 4, 4)), ("joint_blocks.1", (1, 128, 4, 4))]
    last = network.diffusion_model.final_layer.norm_final
    hook = last.register_forward_hook(lambda module, args, output: torch.zeros_like(output))
    zeros = made(model)
    hook.remove()
    assert close(silent, zeros) and not close(silent, made(model))


@pytest.mark.slow
@pytest.mark.parametrize("site", SITES)
def test_a_compiled_model_is_bent_too(unet: Any, site: Any) -> None:
    """Compiled before or after, by ComfyUI's own wrapper; torch.compile leaves out hooks that it has not traced."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    _, model, _ = unet
    bent = bend_model(model, NOISE, site)[0]
    wanted, plain = draw(unet, bent), draw(unet)
    set_torch_compile_wrapper(bent, backend="eager")
    assert close(draw(unet, bent), wanted)
    compiled = model.clone()
    set_torch_compile_wrapper(compiled, backend="eager")
    assert close(draw(unet, compiled), plain)
    assert close(draw(unet, bend_model(compiled, NOISE, site)[0]), wanted)
    assert close(draw(unet, compiled), plain) and torch.equal(draw(unet), plain)
    torch.compiler.reset()


def test_other_transformers_are_cut_into_thirds() -> None:
    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList(torch.nn.Identity() for _ in range(7))
            self.heads = torch.nn.ModuleList(torch.nn.Identity() for _ in range(9))

    parts = list(network_blocks(Other()).values())
    assert [part for part, _ in parts] == ["input"] * 3 + ["middle"] * 2 + ["output"] * 2
    assert [number for _, number in parts] == [0, 1, 2, 0, 1, 0, 1]
    with pytest.raises(ValueError, match="got a Linear, allowed UNets and transformers"):
        network_blocks(torch.nn.Linear(1, 1))


def test_an_impossible_window_is_refused(unet: Any) -> None:
    with pytest.raises(ValueError, match=r"start_percent: got 0\.6 to 0\.4"):
        bend_model(unet[1], GAIN, start_percent=0.6, end_percent=0.4)


def test_a_training_copy_has_no_bends(unet: Any) -> None:
    """Bends belong to sampling: the private copy that learns runs the plain network."""
    from glitch_lora.host.models import private_model

    bent = bend_model(bend_model(unet[1], NOISE)[0], NOISE, "attention")[0]
    with private_model(bent) as private:
        assert not any(any(by_key.values()) for by_key in private.patcher.wrappers.values())
        assert private.patcher.model_options == {"transformer_options": {}}
