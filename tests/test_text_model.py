"""The private text encoders a training works on, against the CLIP of the graph.

Oracles: ComfyUI's CLIPTextEncode for the conditioning, its own LoRA loader for patches, hashes of all tensors for "what
goes in unchanged comes out unchanged".
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import folder_paths
import pytest
import torch
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.host.identity import clip_identity, hash_tensors, unpatched_weights
from glitch_lora.host.lora_keys import text_lora_names
from glitch_lora.host.text_model import private_text, require_trainable_text
from glitch_lora.training import session
from glitch_lora.training.adapters import LoraAdapters
from glitch_lora.training.loop import NotFinite
from glitch_lora.training.recipe import SampleSettings
from glitch_lora.training.session import train
from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings
from tiny_models import tiny_clip, write_random_checkpoint
from training_scene import Events, graph, photographs, recipe, request

from nodes import CLIPSetLastLayer, CLIPTextEncode

Interrupted = comfy.model_management.InterruptProcessingException
WORD = EmbeddingSettings("prtkl", num_vectors=2, init_text="glitch art", captions="style templates")
EVERYTHING = recipe(
    steps=3,
    text_encoder=TextEncoderSettings(1e-3, 1e-3, rank=2, alpha=2.0),
    embeddings=(WORD,),
    samples=SampleSettings(every=1, prompts=("prtkl",), width=64, height=64, steps=1, cfg=2.0),
)
LONG = "a photograph of a cat, sitting on a chair, " * 8


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return photographs(tmp_path_factory.mktemp("photographs"), count=2)


@pytest.fixture(autouse=True)
def nothing_left_loaded() -> Iterator[None]:
    yield
    assert comfy.model_management.in_training is False
    comfy.model_management.unload_all_models()


def encoded(clip: Any, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        ((cross_attn, extras),) = CLIPTextEncode().encode(clip, text)[0]
    return cross_attn, extras["pooled_output"]


def state_of(clip: Any) -> dict[str, Any]:
    """Everything about a CLIP, and what it shares with others, that a training must leave alone."""
    tokenizers = {name: part for name, part in vars(clip.tokenizer).items() if hasattr(part, "embedding_key")}
    return {
        "weights": hash_tensors(unpatched_weights(clip.patcher)),
        "network": id(clip.cond_stage_model),
        "modules": [f"{name}: {type(module).__name__}" for name, module in clip.cond_stage_model.named_modules()],
        "requires_grad": {name: value.requires_grad for name, value in clip.cond_stage_model.named_parameters()},
        "identity": clip_identity(clip),
        "tokenizers": {name: (id(part), dict(vars(part))) for name, part in tokenizers.items()},
        "folders": list(folder_paths.get_folder_paths("embeddings")),
        "layer": clip.layer_idx,
        "patches": clip.patcher.patches_uuid,
    }


def _raise_value_error(*_: Any) -> None:
    raise ValueError("mid-way")


def _not_finite(self: Any, batch: Any, step: int, place: int) -> Any:
    losses, sigma = _REAL_LOSSES(self, batch, step, place)
    return (losses * float("nan") if step == 1 else losses), sigma


_REAL_LOSSES = session.Training._losses
ENDINGS: dict[str, Any] = {"success": None, "not finite": NotFinite, "failure": ValueError, "interrupt": Interrupted}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_the_clip_that_goes_in_comes_out_unchanged(
    family: str,
    ending: str,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unchanged_random_state: None,
) -> None:
    wires = graph(family)
    spoken, before = encoded(wires._clip, "a prtkl"), state_of(wires._clip)
    if ending == "failure":
        monkeypatch.setattr(session.RunWriter, "append_metrics", _raise_value_error)
    if ending == "not finite":
        monkeypatch.setattr(session.Training, "_losses", _not_finite)
    events = Events(stop_at=1 if ending == "interrupt" else None)
    with torch.inference_mode():
        if expected := ENDINGS[ending]:
            with pytest.raises(expected):
                train(wires, dataset, EVERYTHING, request(tmp_path), events)
        else:
            train(wires, dataset, EVERYTHING, request(tmp_path), events)
    assert state_of(wires._clip) == before
    assert torch.equal(encoded(wires._clip, "a prtkl")[0], spoken[0])
    own = {id(wires._model.model), id(wires._clip.cond_stage_model), id(wires._vae.first_stage_model)}
    assert {id(entry.model.model) for entry in comfy.model_management.current_loaded_models} <= own


def random_text_lora(clip: Any, scale: float = 0.2) -> dict[str, torch.Tensor]:
    """A LoRA file's tensors on every attention layer of every encoder, large enough to see."""
    generator = torch.Generator().manual_seed(3)
    tensors: dict[str, torch.Tensor] = {}
    for path, name in text_lora_names(clip.cond_stage_model).items():
        if "self_attn" in path:
            out, into = clip.cond_stage_model.get_submodule(path).weight.shape
            tensors[f"{name}.lora_down.weight"] = torch.randn(2, into, generator=generator) / into**0.5
            tensors[f"{name}.lora_up.weight"] = torch.randn(out, 2, generator=generator) * scale
    return tensors


def require_same_conditioning(clip: Any, text: str) -> None:
    cross_attn, pooled = encoded(clip, text)
    before = state_of(clip)
    with private_text(clip) as own, own.training(gradient_checkpointing=True):
        own.load()
        ours = own.encode(text, {}, prompt_syntax=True)
        assert not own._clip.patcher.patches and not own._clip.patcher.backup
        assert own.network is not clip.cond_stage_model
        for parameter in own.network.parameters():
            assert not parameter.is_inference() and not parameter.requires_grad
            parameter.data.add_(1.0)
    assert (ours.cross_attn - cross_attn).abs().max() <= 1e-5 * cross_attn.abs().max()
    assert (ours.extras["pooled_output"] - pooled).abs().max() <= 1e-5 * pooled.abs().max()
    assert state_of(clip) == before
    assert torch.equal(encoded(clip, text)[0], cross_attn)


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_loras_and_clip_skip_on_the_clip_are_what_is_trained(family: str, loaded: bool) -> None:
    """loaded: the patches are merged into the weights of the graph's CLIP when the copy is made, or not yet."""
    base = tiny_clip(family)
    _, clip = comfy.sd.load_lora_for_models(None, base, random_text_lora(base), 0.0, 0.8)
    clip = CLIPSetLastLayer().set_last_layer(clip, -2)[0]
    assert (encoded(clip, "a cat")[0] - encoded(base, "a cat")[0]).abs().max() > 0.01, "the LoRA must do something"
    if not loaded:
        comfy.model_management.unload_all_models()
    require_same_conditioning(clip, LONG)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("checkpoints") / "small.safetensors", "small")


def test_a_clip_of_the_checkpoint_loader_with_a_lora_and_clip_skip_in_inference_mode(checkpoint: Path) -> None:
    with torch.inference_mode():
        base = comfy.sd.load_checkpoint_guess_config(str(checkpoint), output_vae=False, output_model=False)[1]
        _, clip = comfy.sd.load_lora_for_models(None, base, random_text_lora(base), 0.0, 0.8)
        clip = CLIPSetLastLayer().set_last_layer(clip, -2)[0]
        require_same_conditioning(clip, "a photograph of a (cat:1.2)")


def test_what_is_learnt_reaches_adapters_and_words_of_a_loaded_checkpoint(checkpoint: Path) -> None:
    with torch.inference_mode():
        clip = comfy.sd.load_checkpoint_guess_config(str(checkpoint), output_vae=False, output_model=False)[1]
        assert any(parameter.is_inference() for parameter in clip.cond_stage_model.parameters())
        with private_text(clip) as own, torch.enable_grad(), own.training(gradient_checkpointing=True):
            layers = own.layers("attention", ("clip_l",))
            adapters = LoraAdapters(own.network, layers, rank=1, alpha=1.0, dropout=0.0, seed=0)
            own.load()
            word = torch.nn.Parameter(own.table("clip_l")[:1].clone())
            own.encode("a prtkl", {"prtkl": {"clip_l": word}}).cross_attn.square().mean().backward()
            ups = [value.grad for name, value in adapters.named_parameters().items() if name.endswith("lora_B")]
    assert len(ups) == 12 * 4 and all(up is not None and up.abs().max() > 0 for up in ups)
    assert word.grad is not None and word.grad.abs().max() > 0


def test_a_reloaded_clip_stands_once_on_the_list_of_loaded_models(checkpoint: Path) -> None:
    """On the CPU a CLIP is loaded as it is made: ComfyUI would take the loader's entry for a leak at every load."""
    clip = comfy.sd.load_checkpoint_guess_config(str(checkpoint), output_vae=False, output_model=False)[1]
    with private_text(clip) as text:
        text.load()
        loaded = comfy.model_management.current_loaded_models
        own = [entry for entry in loaded if entry.real_model() is text.network]
        assert [entry.model is None for entry in own] == [False]


def test_the_layers_are_the_named_ones_of_the_named_encoders() -> None:
    with private_text(tiny_clip("sdxl")) as own:
        attention = own.layers("attention", ("clip_g",))
        assert len(attention) == 3 * 4 and all(
            path.startswith("clip_g.") and ".self_attn." in path for path in attention
        )
        both = own.layers("attention+ff", own.encoders)
        assert len(both) == 2 * 3 * 6 and set(attention) < set(both)
        assert {path for path in both if ".mlp." in path} == {path for path in both if path.endswith(("fc1", "fc2"))}
        assert set(both) < set(own.lora_names()), "every layer has a name in a file"


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_tables_and_token_ids_are_the_encoders_own(family: str) -> None:
    """Oracle: the ids between start and end that ComfyUI's tokenizer gives."""
    clip = tiny_clip(family)
    with private_text(clip) as own:
        for encoder in own.encoders:
            stock = getattr(clip.tokenizer, encoder)
            ids = [token for token, _ in stock.tokenize_with_weights("glitch art style")[0]]
            assert own.token_ids(encoder, "glitch art style") == ids[1 : ids.index(stock.end_token)]
            assert own.token_ids(encoder, "") == []
            weight = getattr(clip.cond_stage_model, encoder).transformer.get_input_embeddings().weight
            assert torch.equal(own.table(encoder), weight)


def test_encoders_whose_gradients_are_not_proved_are_refused_by_name() -> None:
    clip = tiny_clip("sdxl")
    clip.cond_stage_model.clip_x = copy.deepcopy(clip.cond_stage_model.clip_g)
    with pytest.raises(ValueError, match=r"encoders \['clip_l', 'clip_g', 'clip_x'\].*SDXL"):
        require_trainable_text(clip)
    del clip.cond_stage_model.clip_x, clip.cond_stage_model.clip_l
    with pytest.raises(ValueError, match=r"encoders \['clip_g'\]"):  # SDXL's refiner: no file could name its layers
        require_trainable_text(clip)


def test_encoders_in_eight_bits_are_refused() -> None:
    clip = tiny_clip("flux")
    layer = clip.cond_stage_model.t5xxl.transformer.encoder.block[0].layer[0].SelfAttention.q
    layer.weight.data = layer.weight.data.to(torch.float8_e4m3fn)
    with pytest.raises(ValueError, match=r"float8_e4m3fn.*allowed .* fp16, bf16 and fp32"):
        require_trainable_text(clip)


def test_an_unload_between_two_forwards_changes_nothing() -> None:
    with private_text(tiny_clip("sd15")) as own, torch.no_grad():
        own.load()
        before = own.encode("a cat", {}).cross_attn
        comfy.model_management.unload_all_models()
        own.load()
        assert torch.equal(own.encode("a cat", {}).cross_attn, before)


def test_the_copy_leaves_the_list_of_loaded_models_after_an_error() -> None:
    with pytest.raises(KeyError), private_text(tiny_clip("sd15")) as own:
        own.load()
        raise KeyError
    assert not any(entry.model is own._clip.patcher for entry in comfy.model_management.current_loaded_models)
