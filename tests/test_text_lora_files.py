"""LoRA files of text encoders as other programs read them.

Oracles: ComfyUI's own loader and CLIPTextEncode; diffusers' pipelines with transformers' text models of the same
weights. Bars: every key used, 1e-5 of the largest value in ComfyUI, 1e-4 in diffusers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.sd
import pytest
import torch
from glitch_lora.host.lora_keys import unmatched_keys
from glitch_lora.host.text_model import private_text
from glitch_lora.training.conditioning import TextConditioning
from glitch_lora.training.lora_file import load_safetensors
from glitch_lora.training.publish_words import save_embeddings
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.session import Outcome, train
from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings, TextTargets
from glitch_lora.training.text_side import TextSide
from test_diffusers_oracle import _SD15, _SDXL, twin_of
from text_twins import token_ids, transformers_twin
from training_scene import Events, graph, photographs, recipe, request

from nodes import CLIPTextEncode

FAMILIES = ("sd15", "sdxl")
PREFIXES = {"clip_l": "text_encoder", "clip_g": "text_encoder_2"}
WORD = EmbeddingSettings("prtkl", num_vectors=2, learning_rate=0.1, captions="style templates")
TEXT = "a photograph of a cat"


def trained_on(targets: TextTargets) -> Recipe:
    """A short recipe whose adapters and words move far, with an alpha that is not the rank."""
    encoders = TextEncoderSettings(0.05, 0.05, 0.05, rank=4, alpha=2.0, target_modules=targets)
    return recipe(steps=3, checkpoint_every=0, rank=8, alpha=8.0, text_encoder=encoders, embeddings=(WORD,))


class Scene:
    """A finished run of LoRA, text encoders and a word."""

    def __init__(self, family: str, targets: TextTargets, folder: Path) -> None:
        self.family, self.recipe, self.wires = family, trained_on(targets), graph(family)
        dataset = photographs(folder / "data", count=2)
        self.outcome: Outcome = train(self.wires, dataset, self.recipe, request(folder), Events())
        assert self.outcome.published
        self.path = self.outcome.published
        self.tensors = load_safetensors(self.path)[0]
        (self.embedding,) = save_embeddings(self.outcome.run, 3, folder / "embeddings", name="prtkl")

    @contextmanager
    def in_training(self) -> Iterator[TextSide]:
        """The text side of the training as it was after its last step."""
        (path,) = (self.outcome.run.folder / "state").glob("*.safetensors")
        state = {name.removeprefix("adapter."): value for name, value in load_safetensors(path)[0].items()}
        with private_text(self.wires._clip) as text, torch.no_grad():
            side = TextSide(text, self.recipe, [], {})
            side.load()
            side.load_state(state)
            side.train(False)
            with text.training(gradient_checkpointing=True):
                yield side


KINDS = [
    *((family, targets) for family in FAMILIES for targets in ("attention", "attention+ff")),
    ("flux", "attention+ff"),
]


@pytest.fixture(scope="module", params=KINDS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(*request.param, tmp_path_factory.mktemp("run"))


def loaded(scene: Scene) -> Any:
    """The CLIP with the LoRA on it, as Load LoRA gives it."""
    return comfy.sd.load_lora_for_models(scene.wires._model, scene.wires._clip, scene.tensors, 1.0, 1.0)[1]


def conditioning(clip: Any, prompt: str) -> TextConditioning:
    with torch.inference_mode():
        ((cross_attn, extras),) = CLIPTextEncode().encode(clip, prompt)[0]
    return TextConditioning(cross_attn, extras)


def difference(a: TextConditioning, b: TextConditioning) -> float:
    """The largest difference of both outputs, as part of the largest value."""
    pairs = ((a.cross_attn, b.cross_attn), (a.extras["pooled_output"], b.extras["pooled_output"]))
    return max(float((x - y).abs().max() / y.abs().max()) for x, y in pairs)


def test_comfyui_loads_every_key_and_encodes_as_in_training(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    patched = loaded(scene)
    assert "not loaded" not in caplog.text
    assert unmatched_keys(scene.wires._model, scene.wires._clip, scene.tensors) == []
    with scene.in_training() as side:
        for prompt in (TEXT, "a (cat:1.3) " + "on a chair, " * 30):
            trained, stock = side.encode_prompt(prompt), conditioning(patched, prompt)
            assert difference(trained, stock) <= 1e-5
            assert difference(conditioning(scene.wires._clip, prompt), stock) > 1e-3, "the LoRA must do something"


def test_lora_and_embedding_file_together_are_the_training(scene: Scene) -> None:
    patched = loaded(scene)
    prompt, written = "a (prtkl:1.2) of a cat, prtkl", "a (embedding:prtkl:1.2) of a cat, embedding:prtkl"
    for part in vars(patched.tokenizer).values():
        if hasattr(part, "embedding_key"):
            part.embedding_directory = [str(scene.embedding.path.parent)]
    with scene.in_training() as side:
        assert difference(side.encode_prompt(prompt), conditioning(patched, written)) <= 1e-5


def test_patched_weights_are_the_definition_of_a_lora(scene: Scene) -> None:
    """W + alpha / r * up @ down in float64, for every layer that the recipe names and for no other."""
    patched = loaded(scene)
    key_map = comfy.lora.model_lora_keys_clip(scene.wires._clip.cond_stage_model, {})
    names = {
        name.removesuffix(".alpha") for name in scene.tensors if name.startswith("lora_te") and name.endswith(".alpha")
    }
    comfy.model_management.unload_all_models()  # takes the patches of the tests before off again
    before = {key: value.detach().clone() for key, value in scene.wires._clip.cond_stage_model.state_dict().items()}
    comfy.model_management.load_models_gpu([patched.patcher], force_full_load=True)
    after = {key: value.detach().clone() for key, value in patched.cond_stage_model.state_dict().items()}
    comfy.model_management.unload_all_models()
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    # SDXL hears the last but one layer of CLIP-L and nothing of the last: its adapters stay at zero.
    unheard = {name for name in names if scene.family == "sdxl" and "te1_text_model_encoder_layers_2" in name}
    assert changed == {key_map[name] for name in names - unheard}
    layers = 6 if scene.recipe.text_encoder and "ff" in scene.recipe.text_encoder.target_modules else 4
    in_t5 = 2 * 7  # of its feed-forward layers there are three
    assert len(names) == layers * 3 * (2 if scene.family == "sdxl" else 1) + (in_t5 if scene.family == "flux" else 0)
    for name in names:
        down, up = (scene.tensors[f"{name}.lora_{part}.weight"].double() for part in ("down", "up"))
        wanted = before[key_map[name]].double() + float(scene.tensors[f"{name}.alpha"]) / down.shape[0] * up @ down
        assert down.shape[0] == 4 and float(scene.tensors[f"{name}.alpha"]) == 2.0
        assert (after[key_map[name]] - wanted).abs().max() <= 1e-6


def pipeline(scene: Scene) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

    comfy.model_management.unload_all_models()  # takes the patches of the tests before off the weights that are copied
    clip, unet = scene.wires._clip, twin_of(scene.wires._model, _SDXL if scene.family == "sdxl" else _SD15)
    parts = {"vae": None, "tokenizer": None, "scheduler": DDIMScheduler(), "unet": unet, "feature_extractor": None}
    parts["text_encoder"] = transformers_twin(clip, "clip_l")
    if scene.family == "sdxl":
        return StableDiffusionXLPipeline(
            **parts, text_encoder_2=transformers_twin(clip, "clip_g"), tokenizer_2=None, add_watermarker=False
        )
    return StableDiffusionPipeline(**parts, safety_checker=None, requires_safety_checker=False)


def as_diffusers_encodes(pipe: Any, clip: Any, family: str) -> TextConditioning:
    """What its pipelines take from the text models: SDXL the last but one layer of both and CLIP-G's projection."""
    with torch.no_grad():
        first = pipe.text_encoder(token_ids(clip, "clip_l", TEXT), output_hidden_states=True)
        if family == "sd15":
            return TextConditioning(first.last_hidden_state, {"pooled_output": first.pooler_output})
        second = pipe.text_encoder_2(token_ids(clip, "clip_g", TEXT), output_hidden_states=True)
    hidden = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
    return TextConditioning(hidden, {"pooled_output": second.text_embeds})


@pytest.mark.parametrize("scene", KINDS[:-1], indirect=True)  # it takes no LoRA on T5
def test_diffusers_loads_every_key_and_encodes_as_in_training(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    pipe = pipeline(scene)
    base = as_diffusers_encodes(pipe, scene.wires._clip, scene.family)
    assert difference(base, conditioning(scene.wires._clip, TEXT)) <= 1e-4, "the twins differ before any LoRA"
    pipe.load_lora_weights(str(scene.path))
    told = caplog.text.lower()
    assert "unexpected" not in told and "no lora keys" not in told and "missing" not in told
    adapted = {
        part: [name for name, module in getattr(pipe, part).named_modules() if hasattr(module, "lora_A")]
        for part in ("unet", *(PREFIXES[encoder] for encoder in encoders(scene)))
    }
    wanted = [name for name in scene.tensors if name.endswith(".alpha")]
    assert sum(map(len, adapted.values())) == len(wanted), "diffusers left layers of the file out"
    ours = as_diffusers_encodes(pipe, scene.wires._clip, scene.family)
    with scene.in_training() as side:
        assert difference(side.encode_prompt(TEXT), ours) <= 1e-4
    assert difference(base, ours) > 1e-3


def encoders(scene: Scene) -> tuple[str, ...]:
    return ("clip_l", "clip_g") if scene.family == "sdxl" else ("clip_l",)
