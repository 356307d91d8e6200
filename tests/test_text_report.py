"""What a training says of its text side. Oracles: sentences written out, and kohya's names of its metadata."""

from dataclasses import replace

import pytest
from glitch_lora.training.lora_file import lora_metadata
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.text_report import describe_text, text_metadata
from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings

WORD = EmbeddingSettings("prtkl", num_vectors=2, init="noise", learning_rate=3e-4, ti_frac=0.5)
PIVOTAL = Recipe(embeddings=(WORD,), learning_rate=1e-4)


def test_a_recipe_without_a_text_side_says_nothing() -> None:
    assert describe_text(Recipe(), 100) == []
    assert text_metadata(Recipe(), ()) == {}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "Word prtkl: 2 vectors from noise, at 0.0003, frozen after step 200"),
        ({"ti_frac": 1.0}, "Word prtkl: 2 vectors from noise, at 0.0003, trained to the end"),
        (
            {"init": "words", "init_text": "a swarm", "num_vectors": 1, "encoders": "clip_g"},
            "Word prtkl: 1 vector of clip_g from 'a swarm', at 0.0003, frozen after step 200",
        ),
        (
            {"init": "mean of words", "captions": "style templates"},
            "Word prtkl: 2 vectors from the mean of 'style', at 0.0003, on style templates, frozen after step 200",
        ),
        (
            {"init": "file", "init_file": "old.pt"},
            "Word prtkl: 2 vectors from the file old.pt, at 0.0003, frozen after step 200",
        ),
    ],
)
def test_words_are_described(changes: dict[str, object], line: str) -> None:
    assert describe_text(Recipe(embeddings=(replace(WORD, **changes),)), 400) == [line]


def test_text_encoders_and_the_order_of_parts_are_described() -> None:
    settings = TextEncoderSettings(learning_rate_clip_g=1e-5, text_encoder_frac=0.25)
    lines = describe_text(PIVOTAL.changed(text_encoder=settings, network_start_frac=0.5), 400)
    assert lines[0] == (
        "LoRA on the text encoders (those the model has): clip_l at 5e-05, clip_g at 1e-05, rank 16, "
        "frozen after step 100"
    )
    assert lines[2:] == ["The diffusion model's LoRA joins after step 200"]
    alone = Recipe(embeddings=(replace(WORD, ti_frac=1.0),), train_network=False)
    assert describe_text(alone, 400)[1:] == ["The diffusion model has no LoRA in this run"]


def test_metadata_has_kohyas_names_and_one_rate_where_all_are_the_same() -> None:
    """Old readers take ss_text_encoder_lr as one number; with two rates it is a list, as kohya writes it today."""
    both = Recipe(text_encoder=TextEncoderSettings())
    told = lora_metadata(name="run", step=1, family="sdxl", recipe=both, encoders=("clip_l", "clip_g"))
    assert float(told["ss_text_encoder_lr"]) == 5e-5 and float(told["ss_unet_lr"]) == both.learning_rate
    different = Recipe(text_encoder=TextEncoderSettings(learning_rate_clip_g=1e-5))
    assert text_metadata(different, ("clip_l", "clip_g"))["ss_text_encoder_lr"] == "[5e-05, 1e-05]"
    assert text_metadata(different, ("clip_l",))["ss_text_encoder_lr"] == "5e-05"
    assert "ss_text_encoder_lr" not in text_metadata(PIVOTAL, ())
    assert "ss_unet_lr" not in text_metadata(both.changed(train_network=False), ("clip_l",))


def test_the_hint_of_a_lora_names_its_embedding() -> None:
    told = lora_metadata(name="run", step=1, family="sd15", recipe=PIVOTAL, trigger="prtkl")
    assert told["modelspec.trigger_phrase"] == "prtkl"
    assert told["modelspec.usage_hint"] == "Put embedding:prtkl into the prompt; the embedding belongs to this LoRA."
    plain = lora_metadata(name="run", step=1, family="sd15", recipe=Recipe(), trigger="prtkl")
    assert plain["modelspec.usage_hint"] == "Put prtkl into the prompt."
