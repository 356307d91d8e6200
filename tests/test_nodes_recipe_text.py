"""The nodes that put a text side on a recipe: what they add, what they refuse, and a training on a real server.

Oracle on the server: the picture of stock nodes that know only the published embedding file and the native loader.
"""

import json
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer, PromptError
from glitch_lora.nodes.recipe_text import NO_FILE, GlitchRecipeEmbedding, GlitchRecipeTextEncoder
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.run import Run
from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings
from PIL import Image
from shipped_workflow import api_form
from test_nodes_dataset import node

SPELLINGS = ("prtkl", "<prtkl>", "embedding:prtkl")
WORD: dict[str, Any] = {
    **{"token": "prtkl", "num_vectors": 2, "init": "noise", "init_text": "style", "init_file": NO_FILE},
    **{"learning_rate": 0.5, "ti_frac": 0.5, "train_network": True, "network_start_frac": 0.0, "norm_pull": 0.0},
    **{"encoders": "all", "captions": "captions", "lr_schedule": "constant", "warmup_steps": 0, "weight_decay": 0.0},
}
ENCODERS: dict[str, Any] = {
    **{"learning_rate_clip_l": 1e-4, "learning_rate_clip_g": 0.0, "learning_rate_t5xxl": 0.0, "rank": 4, "alpha": 4.0},
    **{"text_encoder_frac": 0.25, "target_modules": "attention+ff", "lr_schedule": "cosine", "warmup_steps": 2},
    **{"weight_decay": 0.02, "train_network": True},
}


def with_word(recipe: Recipe, **changes: Any) -> Recipe:
    (changed,) = GlitchRecipeEmbedding.execute(recipe=recipe, **(WORD | changes)).result
    return changed


def with_encoders(recipe: Recipe, **changes: Any) -> Recipe:
    (changed,) = GlitchRecipeTextEncoder.execute(recipe=recipe, **(ENCODERS | changes)).result
    return changed


def test_every_input_arrives_in_the_recipe(comfy) -> None:
    recipe = with_word(Recipe(), network_start_frac=0.25, norm_pull=0.1, encoders="clip_l", captions="style templates")
    assert recipe == Recipe(
        network_start_frac=0.25,
        embeddings=(
            EmbeddingSettings(
                "prtkl",
                num_vectors=2,
                init="noise",
                learning_rate=0.5,
                ti_frac=0.5,
                norm_pull=0.1,
                encoders="clip_l",
                captions="style templates",
            ),
        ),
    )
    recipe = with_encoders(Recipe())
    assert recipe == Recipe(
        text_encoder=TextEncoderSettings(1e-4, 0.0, 0.0, 4, 4.0, "attention+ff", 0.25, "cosine", 2, 0.02)
    )


def shown(kind: Any) -> dict[str, Any]:
    """Return what the widgets of a node hold at first; a menu without a default shows its first choice."""
    given = [item for item in kind.define_schema().inputs if hasattr(item, "default")]
    return {item.id: item.options[0] if item.default is None else item.default for item in given}


def test_what_the_nodes_show_at_first_is_what_the_settings_say(comfy) -> None:
    """But for the pivot: a word beside a LoRA is frozen half way."""
    (word,) = with_word(Recipe(), **shown(GlitchRecipeEmbedding)).embeddings
    assert word == EmbeddingSettings("prtkl", ti_frac=0.5)
    assert with_encoders(Recipe(), **shown(GlitchRecipeTextEncoder)).text_encoder == TextEncoderSettings()


def test_words_add_up_in_any_order_with_the_encoders_and_nothing_is_changed_in_place(comfy) -> None:
    first = Recipe(seed=3)
    one_way = with_encoders(with_word(with_word(first), token="other", num_vectors=1))
    other_way = with_word(with_word(with_encoders(first)), token="other", num_vectors=1)
    assert one_way == other_way and first == Recipe(seed=3)
    assert [word.token for word in one_way.embeddings] == ["prtkl", "other"]
    assert Recipe.from_json(json.loads(json.dumps(one_way.to_json()))) == one_way
    start = with_word(with_word(first, network_start_frac=0.5), token="other", network_start_frac=0.25)
    assert start.network_start_frac == 0.5, "the LoRA waits for the word that needs it longest"


def test_off_in_one_node_of_the_chain_is_off(comfy) -> None:
    alone = with_word(Recipe(), train_network=False, ti_frac=1.0)
    assert not alone.train_network and not with_encoders(alone).train_network
    assert with_encoders(with_word(Recipe())).train_network


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token": "two words"}, "token of embedding 'two words': got 'two words', allowed a letter"),
        ({"token": "1prtkl"}, "allowed a letter, then letters"),
        ({"token": ""}, "allowed a letter, then letters"),
        ({"init": "words", "init_text": " "}, "init_text: got nothing for 'prtkl'"),
        ({"init": "file"}, "init_file: got none for 'prtkl'"),
        ({"train_network": False}, "train_network: got off with a text side that stops at 0.5"),
        ({"train_network": False, "ti_frac": 1.0, "network_start_frac": 0.5}, "network_start_frac: got a start"),
        ({"ti_frac": 0.0}, "ti_frac of embedding 'prtkl': got 0.0, allowed above 0"),
    ],
)
def test_impossible_words_are_refused(comfy, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"Recipe refused:\n(.|\n)*{told}"):
        with_word(Recipe(), **changes)


def test_a_word_stands_in_a_recipe_once(comfy) -> None:
    with pytest.raises(ValueError, match=r"token: got \['prtkl'\] more than once"):
        with_word(with_word(Recipe()), token="PRTKL")
    with pytest.raises(ValueError, match="text_encoder_frac of text encoder: got 2.0"):
        with_encoders(Recipe(), text_encoder_frac=2.0)


def training(server: ComfyServer, name: str, **word: Any) -> dict[str, Any]:
    """Return a prompt that trains two steps on the demo model with `word`, a step before and one after its pivot."""
    recipe = {**inputs_of(server, "GlitchRecipe"), "steps": 2, "checkpoint_every": 1, "sample_every": 0}
    demo = {"model": ["demo", 0], "clip": ["demo", 1], "vae": ["demo", 2]}
    return {
        "demo": node("GlitchLoadDemoModel", {}),
        "data": node("GlitchDemoDataset", {"style": "particles", "pictures": 2, "seed": 0}),
        "recipe": node("GlitchRecipe", recipe | {"learning_rate": 0.01, "batch_size": 2, "caption_dropout": 0.0}),
        "learn": node("GlitchRecipeEmbedding", WORD | word, recipe=["recipe", 0]),
        "train": node(
            "GlitchTrain",
            inputs_of(server, "GlitchTrain") | {"name": name} | demo,
            dataset=["data", 0],
            recipe=["learn", 0],
        ),
        "done": node("PreviewAny", {}, source=["train", 4]),
    }


def inputs_of(server: ComfyServer, kind: str) -> dict[str, Any]:
    """Return a node's inputs as the shipped workflow sets them."""
    (inputs,) = (each["inputs"] for each in api_form(server).values() if each["class_type"] == kind)
    return dict(inputs)


def picture(name: str, model: list[Any], clip: list[Any], word: str) -> dict[str, Any]:
    """Return the stock nodes that draw and save a small picture of a prompt with the word."""
    settings = {"seed": 3, "steps": 2, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    wires = {"model": model, "positive": [f"{name}+", 0], "negative": [f"{name}-", 0], "latent_image": [f"{name}0", 0]}
    return {
        f"{name}+": node("CLIPTextEncode", {"text": f"a red star {word} on white"}, clip=clip),
        f"{name}-": node("CLIPTextEncode", {"text": ""}, clip=clip),
        f"{name}0": node("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        f"{name}s": node("KSampler", settings, **wires),
        f"{name}d": node("VAEDecode", {}, samples=[f"{name}s", 0], vae=["demo", 2]),
        name: node("SaveImage", {"filename_prefix": "recipe-text"}, images=[f"{name}d", 0]),
    }


def pixels(server: ComfyServer, entry: dict[str, Any], name: str) -> np.ndarray:
    """Return the picture that a Save Image node wrote."""
    (path,) = server.files({"outputs": {name: entry["outputs"][name]}})
    with Image.open(path) as saved:
        return np.asarray(saved.convert("RGB")).astype(int)


def run_of(server: ComfyServer, name: str) -> Run:
    (folder,) = (server.base / "output" / "glitch_lora").glob(f"{name}-*")
    return Run(folder)


@pytest.mark.xdist_group("server")
def test_pivotal_tuning_reaches_stock_nodes_in_three_spellings(server: ComfyServer) -> None:
    """Apply Checkpoint and the native nodes draw the same; the base does not know the word however it is written."""
    prompt = training(server, "stock-pivotal")
    at = {"run": ["train", 0], "model": ["demo", 0], "clip": ["demo", 1], "strength": 1.0, "use_run_clip_skip": True}
    prompt |= {f"at {step}": node("GlitchApplyCheckpoint", at | {"step": step}) for step in (0, 2)}
    for number, spelling in enumerate(SPELLINGS):
        prompt |= picture(f"word {number}", ["at 2", 0], ["at 2", 1], spelling)
        prompt |= picture(f"base {number}", ["at 0", 0], ["at 0", 1], spelling)
    entry = server.queue(prompt)
    drawn = [pixels(server, entry, f"word {number}") for number in range(3)]
    before = [pixels(server, entry, f"base {number}") for number in range(3)]
    assert all(np.array_equal(drawn[0], each) for each in drawn[1:])
    assert all(np.array_equal(before[0], each) for each in before[1:])
    assert np.abs(drawn[0] - before[0]).max() > 8

    run = run_of(server, "stock-pivotal")
    assert run.words(1)["prtkl"]["clip_l"].equal(run.words(2)["prtkl"]["clip_l"]), "frozen after the first of two"
    report = entry["outputs"]["done"]["text"][0]
    assert "Word prtkl: 2 vectors from noise, at 0.5, frozen after step 1" in report
    (pasted,) = [line for line in report.splitlines() if line.startswith("Prompt: ")]
    file = pasted.partition("Sweep, ")[2].partition(" ")[0]
    assert file.startswith("embedding:prtkl")

    native = node("LoraModelLoader", {"strength_model": 1.0, "bypass": False}, model=["demo", 0], lora=["train", 1])
    prompt |= {"native": native} | picture("stock", ["native", 0], ["demo", 1], file)
    assert np.array_equal(pixels(server, server.queue(prompt), "stock"), drawn[0])


@pytest.mark.xdist_group("server")
def test_textual_inversion_alone_leaves_the_model_as_it_is(server: ComfyServer) -> None:
    """The LORA_MODEL is empty: the native loader gives back the model, and only prompts with the word change."""
    prompt = training(server, "stock-inversion", train_network=False, ti_frac=1.0)
    at = {"run": ["train", 0], "model": ["demo", 0], "clip": ["demo", 1], "strength": 1.0, "use_run_clip_skip": True}
    native = node("LoraModelLoader", {"strength_model": 1.0, "bypass": False}, model=["demo", 0], lora=["train", 1])
    prompt |= {"at": node("GlitchApplyCheckpoint", at | {"step": -1}), "native": native}
    prompt |= picture("word", ["at", 0], ["at", 1], "<prtkl>") | picture("plain", ["at", 0], ["at", 1], "swarm")
    prompt |= picture("native plain", ["native", 0], ["demo", 1], "swarm")
    prompt |= picture("base", ["demo", 0], ["demo", 1], "swarm") | picture(
        "base word", ["demo", 0], ["demo", 1], "prtkl"
    )
    entry = server.queue(prompt)
    base = pixels(server, entry, "base")
    assert np.array_equal(pixels(server, entry, "plain"), base)
    assert np.array_equal(pixels(server, entry, "native plain"), base)
    assert np.abs(pixels(server, entry, "word") - pixels(server, entry, "base word")).max() > 8
    assert "The diffusion model has no LoRA in this run" in entry["outputs"]["done"]["text"][0]
    assert not list((server.base / "output" / "loras").rglob("stock-inversion-*"))
    words = [run_of(server, "stock-inversion").words(step)["prtkl"]["clip_l"] for step in (1, 2)]
    assert words[0].shape[0] == 2 and not words[0].equal(words[1])


@pytest.mark.xdist_group("server")
def test_a_word_that_no_caption_has_is_refused_before_the_training(server: ComfyServer) -> None:
    with pytest.raises(PromptError, match="token: got 'absent', which no caption of the dataset has"):
        server.queue(training(server, "absent", token="absent"))
    assert not list((server.base / "output" / "embeddings").glob("absent*"))
