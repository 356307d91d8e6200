"""The content key: what changes the trained tensors changes it, and nothing else does.

Oracle of the keys that runs on disk have: what the code gave before recipes had a text side.
"""

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import training_scene as scene
from glitch_lora.training.embedding_start import start_hash
from glitch_lora.training.key import length_matters, run_key
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.session import train
from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings
from safetensors.torch import save_file

DATASET: Any = SimpleNamespace(fingerprint="pictures", trigger="zxq")
WORD = EmbeddingSettings("prtkl")
PIVOTAL = Recipe(embeddings=(WORD,), text_encoder=TextEncoderSettings())
ALONE = Recipe(embeddings=(WORD,), train_network=False)
OTHER_WORD = {
    "token": "other",
    "num_vectors": 2,
    "init": "noise",
    "init_text": "painting",
    "encoders": "clip_l",
    "learning_rate": 1e-3,
    "lr_schedule": "cosine",
    "warmup_steps": 5,
    "weight_decay": 0.1,
    "ti_frac": 0.5,
    "norm_pull": 0.1,
    "captions": "style templates",
}
OTHER_ENCODER = {
    "learning_rate_clip_l": 1e-4,
    "learning_rate_clip_g": 1e-4,
    "learning_rate_t5xxl": 1e-4,
    "rank": 4,
    "alpha": 4.0,
    "target_modules": "attention+ff",
    "text_encoder_frac": 0.5,
    "lr_schedule": "cosine",
    "warmup_steps": 5,
    "weight_decay": 0.1,
}


def key(recipe: Recipe, steps: int = 10) -> str:
    return run_key({"model": "m"}, DATASET, recipe, steps)


def with_word(**settings: Any) -> Recipe:
    return PIVOTAL.changed(embeddings=(replace(WORD, **settings),))


def test_runs_without_a_text_side_are_found_by_the_key_they_have() -> None:
    assert key(Recipe()) == "41b70132789a94548f8e7030241432a6452bf92d9f014412b601eb36140fddd4"
    bent = Recipe(lr_schedule="cosine", rank=8, lr_spike_every=5)
    assert key(bent) == "e24b2aa7de4c34418a6094d167933cc085cc9d6d1c6c647b12dbbaed0157b6e6"


@pytest.mark.parametrize("setting", OTHER_WORD)
def test_every_setting_of_a_word_counts(setting: str) -> None:
    assert {field.name for field in fields(WORD)} == OTHER_WORD.keys() | {"init_file", "init_hash"}
    assert key(with_word(**{setting: OTHER_WORD[setting]})) != key(PIVOTAL)


@pytest.mark.parametrize("setting", OTHER_ENCODER)
def test_every_setting_of_the_text_encoders_counts(setting: str) -> None:
    assert {field.name for field in fields(TextEncoderSettings)} == OTHER_ENCODER.keys()
    changed = replace(TextEncoderSettings(), **{setting: OTHER_ENCODER[setting]})
    assert key(PIVOTAL.changed(text_encoder=changed)) != key(PIVOTAL)


def test_what_a_words_start_passes_over_does_not_count() -> None:
    assert key(with_word(init="noise", init_text="a")) == key(with_word(init="noise", init_text="b"))
    one, moved = ({"init": "file", "init_file": name, "init_hash": "1", "init_text": name} for name in ("a.pt", "b.pt"))
    assert key(with_word(**one)) == key(with_word(**moved)) != key(with_word(**one | {"init_hash": "2"}))


@pytest.mark.parametrize("setting", [{"rank": 4}, {"learning_rate": 1.0}, {"lr_schedule": "cosine"}, {"alpha": 2.0}])
def test_without_a_lora_its_settings_do_not_count(setting: dict[str, Any]) -> None:
    assert key(ALONE.changed(**setting)) == key(ALONE)
    assert key(PIVOTAL.changed(**setting)) != key(PIVOTAL)
    assert not length_matters(ALONE.changed(**setting))


@pytest.mark.parametrize(
    ("recipe", "counts"),
    [
        (PIVOTAL, False),
        (ALONE, False),
        (with_word(ti_frac=0.5), True),
        (with_word(lr_schedule="linear"), True),
        (PIVOTAL.changed(network_start_frac=0.1), True),
        (PIVOTAL.changed(text_encoder=TextEncoderSettings(text_encoder_frac=0.5)), True),
    ],
)
def test_the_length_counts_where_a_part_stops_or_starts_by_it(recipe: Recipe, counts: bool) -> None:
    assert length_matters(recipe) == counts
    assert (key(recipe, 10) != key(recipe, 20)) == counts


def test_either_file_of_a_pair_stands_for_both(tmp_path: Path) -> None:
    first, second = tmp_path / "learned_embeds.safetensors", tmp_path / "learned_embeds_2.safetensors"
    save_file({"<cat>": torch.ones(1, 768)}, first)
    alone = start_hash(first)
    save_file({"<cat>": torch.ones(1, 1280)}, second)
    both = start_hash(first)
    assert both == start_hash(second) != alone
    save_file({"<cat>": torch.zeros(2, 1280)}, second)  # of another size: two writes within a clock tick look alike
    assert start_hash(first) == start_hash(second) != both


def test_a_file_that_changed_since_the_recipe_is_not_trained_on(tmp_path: Path) -> None:
    graph = scene.graph("sd15")
    path = tmp_path / "start.safetensors"
    graph.embedding_file = lambda name: tmp_path / name  # type: ignore[method-assign]
    dataset = scene.photographs(tmp_path / "pictures", count=1)

    def recipe() -> Recipe:
        width = graph._clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight.shape[1]
        save_file({"emb_params": torch.full((1, width), float(path.exists()))}, path)
        word = EmbeddingSettings("zxq", init="file", init_file=path.name, init_hash=start_hash(path))
        return scene.recipe(steps=1, train_network=False, embeddings=(replace(word, captions="style templates"),))

    made = recipe()
    trained = train(graph, dataset, made, scene.request(tmp_path), scene.Events())
    assert trained.run.words(1)["zxq"]["clip_l"].abs().max() < 1e-2, "it starts at the file's zeros"
    recipe()
    moved = made.changed(seed=1)
    with pytest.raises(ValueError, match="init_file: got start.safetensors, which is not as it was"):
        train(graph, dataset, moved, scene.request(tmp_path), scene.Events())
