"""The demo model among ComfyUI's own nodes: loaded, sampled, trained, and refused when its file is not as written.

Oracles: the stock node classes run in process, the file's own tensors, a word's own vector, the definitions of flow
matching and of a LoRA. The file is one of random weights; with the trained one in the repository that is loaded too.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.memory_management
import comfy.model_management
import comfy.ops
import comfy.sd
import comfy.sd1_clip
import folder_paths
import pytest
import torch
from adapters_for_tests import merged_weight
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from glitch_lora.host import demo_model
from glitch_lora.host.demo_model import WEIGHTS, build_vae, load_demo_model, save_weights
from glitch_lora.host.encoding import encode_text
from glitch_lora.host.families import family_of
from glitch_lora.host.graph import ComfyGraph
from glitch_lora.host.identity import hash_tensors
from glitch_lora.host.lora_keys import lora_names, unmatched_keys
from glitch_lora.host.models import private_model
from glitch_lora.host.rendering import encode_prompt, render
from glitch_lora.training.conditioning import SizeConditioning
from glitch_lora.training.lora_file import Adapter, load_safetensors
from glitch_lora.training.objective import loss_per_sample
from glitch_lora.training.session import train
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sweep_scene import weights_hash
from test_private_model import as_sampled
from tiny_models import random_demo_weights
from training_scene import Events, photographs, recipe, request

SIZE = SizeConditioning((64, 64), (0, 0), (64, 64))
Parts = tuple[Any, Any, Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_demo_weights(tmp_path_factory.mktemp("demo") / "random.safetensors")


@pytest.fixture(scope="module")
def parts(file: Path) -> Parts:
    return load_demo_model(file)


@pytest.fixture(autouse=True)
def as_it_went_in(parts: Parts) -> Iterator[None]:
    """No test may change MODEL, CLIP or VAE."""
    before = _hash(parts)
    yield
    comfy.model_management.unload_all_models()
    assert _hash(parts) == before
    assert not parts[0].patches and not parts[1].patcher.patches


def _hash(parts: Parts) -> str:
    return weights_hash(parts[0].model, parts[1].cond_stage_model, parts[2].first_stage_model)


@pytest.fixture(params=["random", "trained"])
def either(request: pytest.FixtureRequest, file: Path) -> Path:
    return file if request.param == "random" else WEIGHTS


# Loading


def test_it_loads_as_comfyuis_own_objects_with_the_files_weights(either: Path) -> None:
    model, clip, vae = load_demo_model(either)
    assert isinstance(model, comfy.model_patcher.ModelPatcher)
    assert isinstance(clip, comfy.sd.CLIP) and isinstance(vae, comfy.sd.VAE)
    written = load_file(either)
    assert {value.dtype for value in written.values()} == {torch.float16}
    here = {f"unet.{name}": value for name, value in model.model.diffusion_model.named_parameters()}
    here |= {f"clip.{name}": value for name, value in clip.cond_stage_model.clip_l.transformer.named_parameters()}
    assert here.keys() == written.keys()
    assert all(torch.equal(here[name], written[name].float()) for name in here)
    assert not any(value.requires_grad for value in here.values())
    assert family_of(model).name == "glitch-demo"


def test_the_trained_file_carries_its_sum_and_its_training() -> None:
    _, notes = load_safetensors(WEIGHTS)
    assert len(notes["sha256"]) == 64
    assert json.loads(notes["training"])["steps"] > 0


def test_each_part_can_be_made_a_second_time(parts: Parts) -> None:
    """For private copies and other devices; equal weights, none shared."""
    for patcher in (parts[0], parts[1].patcher, parts[2].patcher):
        copy = patcher.clone(disable_dynamic=True, force_deepcopy=True)
        mine, theirs = patcher.model.state_dict(), copy.model.state_dict()
        assert mine.keys() == theirs.keys()
        for name, value in mine.items():
            assert torch.equal(value, theirs[name]), name
            assert value.data_ptr() != theirs[name].data_ptr(), name


def test_weights_that_comfyui_loads_on_demand_are_the_same(
    parts: Parts, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dynamic VRAM ComfyUI's layers have no weights until a state dict brings them."""
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    assert comfy.ops.disable_weight_init.Linear(2, 2).weight is None
    lazy = load_demo_model(file)
    monkeypatch.undo()
    assert _hash(lazy) == _hash(parts)
    assert torch.equal(_stock_picture(lazy), _stock_picture(parts))


def test_the_run_is_named_after_the_file(parts: Parts, file: Path) -> None:
    graph = ComfyGraph(*parts)
    assert graph.base_model == file.name
    for part in ("model", "clip"):
        assert [entry["name"] for entry in graph.identities()[part]["weights"]["files"]] == [file.name]


# Stock nodes


def _stock_picture(
    parts: Parts,
    prompt: str = "a red circle on a white background",
    size: tuple[int, int] = (64, 64),
    sampler: str = "euler",
    seed: int = 3,
) -> torch.Tensor:
    import nodes as stock

    model, clip, vae = parts
    with torch.inference_mode():
        texts = [stock.CLIPTextEncode().encode(clip, text)[0] for text in (prompt, "")]
        latent = stock.EmptyLatentImage().generate(*size)[0]
        sampled = stock.KSampler().sample(model, seed, 4, 3.0, sampler, "normal", *texts, latent)[0]
        return stock.VAEDecode().decode(vae, sampled)[0].clone()


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral"])
@pytest.mark.parametrize("size", [(64, 64), (128, 64), (72, 40)])
def test_a_picture_of_the_stock_nodes_and_of_ours(parts: Parts, sampler: str, size: tuple[int, int]) -> None:
    model, clip, vae = parts
    prompt = "a (red:1.3) circle on a white background"
    stock = _stock_picture(parts, prompt, size, sampler)
    assert stock.shape == (1, size[1], size[0], 3)
    assert torch.isfinite(stock).all() and stock.std() > 0.01
    text = [encode_prompt(clip, text) for text in (prompt, "")]
    settings = {"seed": 3, "steps": 4, "cfg": 3.0, "sampler": sampler, "scheduler": "normal"}
    with torch.inference_mode():
        ours = render(model, vae, *text, width=size[0], height=size[1], **settings)
    assert (ours - stock).abs().max() <= 1e-5


def test_prompt_and_seed_decide_the_picture(parts: Parts) -> None:
    one = _stock_picture(parts)
    assert torch.equal(one, _stock_picture(parts))
    assert (one - _stock_picture(parts, "a blue star at night")).abs().max() > 0.01
    assert (one - _stock_picture(parts, seed=4)).abs().max() > 0.01


def test_set_last_layer_counts(parts: Parts) -> None:
    import nodes as stock

    clip = parts[1]
    skipped = stock.CLIPSetLastLayer().set_last_layer(clip, -2)[0]
    with torch.inference_mode():
        last, before = (stock.CLIPTextEncode().encode(each, "a red circle")[0][0][0] for each in (clip, skipped))
    assert last.shape == before.shape == (1, 77, 64)
    assert (last - before).abs().max() > 1e-3
    assert clip.layer_idx is None


def test_an_embedding_file_stands_for_its_vector(parts: Parts, file: Path, tmp_path: Path) -> None:
    """Oracle: the vector of a word, in a file, gives what the word gives."""
    words = parts[1].tokenizer.clip_l.tokenizer("star")["input_ids"][1:-1]
    vectors = parts[1].cond_stage_model.clip_l.transformer.get_input_embeddings().weight[words]
    save_file({"clip_l": vectors.clone()}, tmp_path / "glitch-demo-test.safetensors")
    folder_paths.add_model_folder_path("embeddings", str(tmp_path))
    try:
        clip = load_demo_model(file)[1]
        found = [encode_prompt(clip, f"a red {word} here")[0][0] for word in ("embedding:glitch-demo-test", "star")]
        assert torch.equal(*found)
        assert not torch.equal(found[0], encode_prompt(clip, "a red circle here")[0][0])
    finally:
        folder_paths.folder_names_and_paths["embeddings"][0].remove(str(tmp_path))


@pytest.mark.parametrize("tiled", [False, True])
def test_the_vae_loses_nothing(parts: Parts, tiled: bool) -> None:
    import nodes as stock

    vae = parts[2]
    pixels = torch.rand((2, 192, 128, 3), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        encoder, decoder = (stock.VAEEncodeTiled, stock.VAEDecodeTiled) if tiled else (stock.VAEEncode, stock.VAEDecode)
        tiles = {"tile_size": 64, "overlap": 16} if tiled else {}
        latent = encoder().encode(vae, pixels, **tiles)[0]
        assert latent["samples"].shape == (2, 48, 48, 32)
        again = decoder().decode(vae, latent, **tiles)[0]
        assert (again - pixels).abs().max() <= 1e-5
        # The sides are cropped to whole blocks, around the middle, as ComfyUI does for every VAE.
        odd = stock.VAEEncode().encode(vae, pixels[:, :67, :66])[0]["samples"]
        assert (stock.VAEDecode().decode(vae, {"samples": odd})[0] - pixels[:, 1:65, 1:65]).abs().max() <= 1e-5


def test_the_preview_is_the_mean_of_each_block(parts: Parts) -> None:
    """Oracle: the means, taken from the pixels."""
    from latent_preview import Latent2RGBPreviewer

    model, _, vae = parts
    pixels = torch.rand((1, 64, 96, 3), generator=torch.Generator().manual_seed(1))
    latent = vae.encode(pixels)
    form = model.model.latent_format
    previewer = Latent2RGBPreviewer(form.latent_rgb_factors, form.latent_rgb_factors_bias)
    preview = torch.frombuffer(bytearray(previewer.decode_latent_to_preview(latent).tobytes()), dtype=torch.uint8)
    means = pixels[0].reshape(16, 4, 24, 4, 3).mean((1, 3))
    assert (preview.reshape(16, 24, 3) / 255 - means).abs().max() <= 1.5 / 255


def test_the_vae_follows_its_input(parts: Parts) -> None:
    """Layers of ComfyUI's cast themselves to what comes in, so that it runs wherever ComfyUI puts it."""
    network = build_vae().first_stage_model
    pixels = torch.rand((1, 3, 8, 8), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    latents = network.encode(pixels)
    assert latents.dtype == torch.float64
    assert (network.decode(latents) - pixels).abs().max() < 1e-6
    assert all(hasattr(layer, "comfy_cast_weights") for layer in network.children())


# Training


def _noisy(seed: int = 0) -> torch.Tensor:
    return torch.randn((1, 48, 16, 16), generator=torch.Generator().manual_seed(seed))


def test_the_private_copy_is_what_the_samplers_see(parts: Parts) -> None:
    """Oracle: ComfyUI's own sampling function."""
    model, clip, _ = parts
    for text in ("a red circle", "a red circle, " * 40):
        with torch.inference_mode():
            sigma = model.get_model_object("model_sampling").sigmas[400:401].clone()
            stock = as_sampled(model, _noisy(), sigma, clip, text)
        with private_model(model) as copy, torch.no_grad():
            copy.load()
            conditions = copy.conditions(encode_text(clip, text), _noisy(), SIZE)
            assert (copy.denoise(_noisy(), sigma.clone(), [conditions]) - stock).abs().max() <= 1e-5


def test_the_loss_is_that_of_flow_matching(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: its definition. x_t = (1 - sigma) x0 + sigma noise; a network that says noise - x0 has no loss."""
    x0, noise = (torch.randn((3, 48, 8, 8), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    model, clip, _ = parts
    with private_model(model) as copy, torch.no_grad():
        assert copy.prediction == "flow"
        sigma = copy.sigma_at(torch.tensor([0.02, 0.5, 0.98]))
        # A logit-normal time's median is 1/2, and the model's shift of 3 makes 3/4 of it.
        assert sigma[1].item() == pytest.approx(0.75)
        x_t = copy.add_noise(x0, noise, sigma)
        weight = sigma.view(-1, 1, 1, 1)
        assert torch.allclose(x_t, (1 - weight) * x0 + weight * noise)
        conditions = [copy.conditions(encode_text(clip, "a red circle"), x0[:1], SIZE)] * 3
        for answer, loss in ((noise - x0, torch.zeros(3)), (x0 * 0, (noise - x0).square().mean((1, 2, 3)))):
            seen: list[torch.Tensor] = []
            monkeypatch.setattr(
                copy.network, "forward", lambda x, t, *_, seen=seen, answer=answer, **__: (seen.append(t), answer)[1]
            )
            denoised = copy.denoise(x_t, sigma, conditions)
            assert torch.allclose(loss_per_sample("flow", x_t, sigma, denoised, x0), loss, atol=1e-5)
            assert torch.allclose(seen[0], sigma * 1000), "the network is told the time as in its own training"
        monkeypatch.undo()


def test_layers_that_know_the_picture_have_no_loss(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers give the picture and the network the velocity; only below the smallest sigma it falls short."""
    x0, noise = (torch.randn((3, 48, 8, 8), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    sigma = torch.tensor([0.05, 0.5, 0.98])
    monkeypatch.setattr(UNetModel, "_forward", lambda *_, **__: x0)
    with private_model(parts[0]) as copy, torch.no_grad():
        x_t = copy.add_noise(x0, noise, sigma)
        conditions = [copy.conditions(encode_text(parts[1], "a red circle"), x0[:1], SIZE)] * 3
        denoised = copy.denoise(x_t, sigma, conditions)
    assert (denoised - x0).abs().max() < 1e-5
    assert loss_per_sample("flow", x_t, sigma, denoised, x0).max() < 1e-5


@pytest.mark.parametrize("target_modules", ["attention", "all-linear+conv"])
def test_a_trained_checkpoint_on_the_stock_loader(parts: Parts, target_modules: str, tmp_path: Path) -> None:
    """Oracles: W + alpha / r * up @ down by hand, and the stock node's picture."""
    import nodes as stock

    model, clip, _ = parts
    dataset = photographs(tmp_path / "pictures", 2)
    plan = recipe(steps=2, learning_rate=0.05, target_modules=target_modules)
    with torch.inference_mode():
        outcome = train(ComfyGraph(*parts), dataset, plan, request(tmp_path), Events())
    path = outcome.run.checkpoint(2).path
    tensors, notes = load_safetensors(path)
    names = {name: path_ for path_, name in lora_names(model).items()}
    layers = {key.removesuffix(".alpha") for key in tensors if key.endswith(".alpha")}
    assert {names[name] for name in layers} == set(family_of(model).layers(model.model.diffusion_model, target_modules))
    assert unmatched_keys(model, clip, tensors) == []
    assert notes["modelspec.architecture"] == "glitch-demo/lora"
    assert notes["ss_base_model_version"] == "glitch_demo"

    folder_paths.add_model_folder_path("loras", str(path.parent), is_default=True)
    with torch.inference_mode():
        patched, _ = stock.LoraLoader().load_lora(model, clip, path.name, 1.0, 1.0)
        sigma = model.get_model_object("model_sampling").sigmas[700:701].clone()
        loaded = as_sampled(patched, _noisy(), sigma, clip, "a red circle")
        base = as_sampled(model, _noisy(), sigma, clip, "a red circle")
    twin = model.clone(disable_dynamic=True, force_deepcopy=True)
    for name in layers:
        layer = twin.model.diffusion_model.get_submodule(names[name])
        factors = (tensors[f"{name}.lora_{side}.weight"] for side in ("down", "up"))
        layer.weight.data = merged_weight(layer.weight.data, Adapter(*factors, tensors[f"{name}.alpha"].item()))
    with torch.inference_mode():
        by_hand = as_sampled(twin, _noisy(), sigma, clip, "a red circle")
    assert (loaded - by_hand).abs().max() <= 1e-5
    assert (loaded - base).abs().max() > 1e-3


def test_comfyuis_own_trainer_takes_it(parts: Parts) -> None:
    from comfy_extras import nodes_train

    model, clip, vae = parts
    with torch.inference_mode():
        latents = vae.encode(torch.rand((2, 64, 64, 3), generator=torch.Generator().manual_seed(5)))
        words = encode_prompt(clip, "a red circle")
        given_ = {
            "model": model,
            "batch_size": 1,
            "grad_accumulation_steps": 1,
            "steps": 2,
            "learning_rate": 0.01,
            "rank": 2,
            "optimizer": "AdamW",
            "loss_function": "MSE",
            "seed": 0,
            "training_dtype": "fp32",
            "lora_dtype": "fp32",
            "quantized_backward": False,
            "algorithm": "LoRA",
            "gradient_checkpointing": True,
            "checkpoint_depth": 1,
            "offloading": False,
            "existing_lora": "[None]",
            "bucket_mode": False,
            "bypass_mode": False,
        }
        settings = {name: [value] for name, value in given_.items()}
        lora, losses, _ = nodes_train.TrainLoraNode.execute(
            latents=[{"samples": latents}], positive=[[*words, *words]], **settings
        ).args
        assert len(losses["loss"]) == 2 and all(0 < loss < 1e3 for loss in losses["loss"])
        sigma = model.get_model_object("model_sampling").sigmas[700:701].clone()
        base = as_sampled(model, _noisy(), sigma, clip, "a red circle")
        patched, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
        assert (as_sampled(patched, _noisy(), sigma, clip, "a red circle") - base).abs().max() > 1e-4


# Files and hosts that do not fit


def test_a_missing_file_says_how_to_get_it_back(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got no file .*gone\.safetensors, .*git checkout -- demo/model"):
        load_demo_model(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"unet.a": torch.full((2,), float("nan"), dtype=torch.float16)}, "not finite"),
        ({"unet.a": torch.ones(2, dtype=torch.float16)}, r"ComfyUI \d.*only ComfyUI has .* allowed 0\.30\.0"),
    ],
)
def test_other_contents_are_named(tensors: dict[str, torch.Tensor], reason: str, tmp_path: Path) -> None:
    save_weights(tmp_path / "other.safetensors", tensors, {})
    with pytest.raises(ValueError, match=reason):
        load_demo_model(tmp_path / "other.safetensors")


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    save_file({"model.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="has no checksum of its weights, allowed is the one"):
        load_demo_model(tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"text\.safetensors, which cannot be read"):
        load_demo_model(tmp_path / "text.safetensors")


INTACT: dict[Path, str] = {}
HEADER = st.integers(0, 40_000)
PLACES = st.one_of(HEADER, st.integers(0, 19_000_000))


@settings(max_examples=40, deadline=None)
@given(place=PLACES, bits=st.integers(1, 255), cut=st.booleans())
def test_a_damaged_file_is_named_or_does_not_matter(place: int, bits: int, cut: bool, file: Path) -> None:
    """Cut off anywhere, or any byte changed: the same weights or the one error, nothing else."""
    intact = INTACT.setdefault(file, hash_tensors(load_file(file)))
    with file.open("r+b") as opened:
        opened.seek(place)
        rest = opened.read() if cut else opened.read(1)
        opened.seek(place)
        if cut:
            opened.truncate()
        else:
            opened.write(bytes([rest[0] ^ bits]))
    try:
        weights = demo_model._read(file)
    except ValueError as error:
        assert str(error).startswith(f"demo model: got {file}, which ")
    else:
        assert not cut
        assert hash_tensors({name: value.half() for name, value in weights.items()}) == intact
    finally:
        with file.open("r+b") as opened:
            opened.seek(place)
            opened.write(rest)


def _other_words(*_: Any, **__: Any) -> None:
    raise TypeError("__init__() got an unexpected keyword argument 'model_options'")


class Grown(demo_model.PictureUNet):
    """A UNet as a later ComfyUI might have it."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.register_parameter("extra", torch.nn.Parameter(torch.zeros(3), requires_grad=False))


@pytest.mark.parametrize(
    ("owner", "name", "value", "reason"),
    [
        (comfy.sd1_clip.SD1ClipModel, "__init__", _other_words, "unexpected keyword"),
        (demo_model, "PictureUNet", Grown, "only ComfyUI has extra of shape"),
        (comfy.sd, "VAE", None, "not callable"),
    ],
)
def test_a_comfyui_that_has_changed_is_named(
    owner: Any, name: str, value: Any, reason: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfyui_version

    monkeypatch.setattr(owner, name, value)
    with pytest.raises(ValueError, match="demo model: got ComfyUI") as caught:
        load_demo_model(file)
    assert comfyui_version.__version__ in str(caught.value) and "allowed 0.30" in str(caught.value)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_lower_compute_dtype_samples_nearly_the_same(parts: Parts, dtype: str):
    """Stock Model Compute Dtype: ComfyUI then hands latents and conditioning over in that dtype."""
    from comfy_extras.nodes_model_advanced import ModelComputeDtype

    model, clip, vae = parts
    (lower,) = ModelComputeDtype().patch(model, dtype)
    cond = encode_prompt(clip, "a red circle")
    wanted, got = (
        render(one, vae, cond, cond, width=64, height=64, seed=1, steps=2, cfg=1, sampler="euler", scheduler="simple")
        for one in (model, lower)
    )
    assert (wanted - got).abs().mean() < 0.05


def test_a_comfyui_without_the_method_we_extend_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(demo_model, "UNetModel", type("UNetModel", (), {}))
    with pytest.raises(ValueError, match="no _forward any more"):
        load_demo_model(file)
