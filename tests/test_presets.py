"""Presets: the dial, the table, what they ask for, and their nodes on the real server.

Oracles: the recipe's own rules, the registry's own checks, geometric and arithmetic means, and the written-out values
of a few presets.
"""

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from comfy_server import ComfyServer
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.folder import load_folder
from glitch_lora.glitch.preset import CONTROL, SAMPLE_CONTROL
from glitch_lora.glitch.presets import (
    PRESETS,
    dataset_steps,
    describe_preset,
    find_preset,
    presets_for,
    recipe_values,
    sample_values,
    text_values,
)
from glitch_lora.glitch.registry import find_operation
from glitch_lora.training.recipe import Recipe, SampleSettings
from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph, write_dataset
from test_nodes_dataset import LOAD, node, shown

PAGES = Path(__file__).resolve().parent.parent / "web" / "docs"
DATASET, RECIPE = presets_for("dataset"), presets_for("recipe")
DIAL = st.floats(0, 1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("presets")
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        photograph(name).resize((64, 64)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(f"a photo of {name}", encoding="utf-8")
    return load_folder(folder).with_step(TriggerWord("prtkl"))


def test_every_preset_says_what_it_is() -> None:
    assert len({preset.title for preset in PRESETS.values()}) == len(PRESETS) >= 28
    for preset in PRESETS.values():
        assert preset.why.endswith(".") and preset.name.islower()
        realised = preset.name in (*DATASET, *RECIPE)
        assert realised or preset.bends
        for hint in (preset.by_hand, preset.sampling, preset.weights, preset.missing):
            assert not hint or hint.endswith(".")


@pytest.mark.parametrize("name", PRESETS)
def test_at_0_the_dataset_is_untouched_and_the_recipe_is_the_control(name: str) -> None:
    assert dataset_steps(name, 0.0) == ()
    values = recipe_values(name, 0.0)
    values.pop("epochs", None)
    assert values == {key: CONTROL[key] for key in values}
    assert all(value == SAMPLE_CONTROL[f"sample_{key}"] for key, value in sample_values(name, 0.0).items())
    assert set(text_values(name, 0.0).values()) <= {None}


@pytest.mark.parametrize("name", RECIPE)
@given(intensity=DIAL)
@settings(max_examples=30, deadline=None)
def test_every_intensity_gives_a_recipe(name: str, intensity: float) -> None:
    before = Recipe(epochs=3, learning_rate=7e-4, seed=9)
    values = recipe_values(name, intensity)
    changed = before.changed(**values)
    for field in fields(Recipe):
        expected = values.get(field.name, getattr(before, field.name))
        assert getattr(changed, field.name) == expected
        assert type(getattr(changed, field.name)) is type(getattr(before, field.name))


@pytest.mark.parametrize("name", RECIPE)
@given(first=DIAL, second=DIAL)
@settings(max_examples=30, deadline=None)
def test_the_dial_moves_every_value_one_way(name: str, first: float, second: float) -> None:
    low, high = recipe_values(name, min(first, second)), recipe_values(name, max(first, second))
    for setting in find_preset(name).recipe:
        if isinstance(setting.full, str) or min(first, second) == 0:
            continue
        start = setting.start if setting.start is not None else CONTROL[setting.name]
        sign = 1 if setting.full >= start else -1
        assert sign * (high[setting.name] - low[setting.name]) >= 0


def test_learning_rates_move_on_a_logarithmic_scale_and_others_evenly() -> None:
    half = recipe_values("shout", 0.5)
    assert half["learning_rate"] == pytest.approx(math.sqrt(1e-4 * 1e-3))
    assert half["rank"] == (32 + 64) / 2 and half["alpha"] == (16 + 32) / 2
    assert recipe_values("washed_chaos", 0.5)["noise_offset"] == 0.25
    for preset in PRESETS.values():
        assert all(
            each.scale == "log" for each in preset.recipe if each.name == "learning_rate" and preset.name != "control"
        )


def test_what_0_switches_off_comes_in_gently() -> None:
    """A gamma or a number of noises near 0 would be the strongest, not the weakest, setting."""
    gammas = [recipe_values("hard_contrast", part)["min_snr_gamma"] for part in (0.01, 0.5, 1.0)]
    assert gammas == sorted(gammas, reverse=True) and gammas[0] > 900 and gammas[-1] == 20
    noises = [recipe_values("frozen_dice", part)["frozen_noises"] for part in (0.01, 0.5, 1.0)]
    assert noises == [61, 8, 1]


def test_known_presets_have_their_values() -> None:
    assert recipe_values("overshoot", 1.0) == {
        **{"learning_rate": 5e-4, "lr_spike_every": 200, "lr_spike_factor": 10.0},
        **{"warmup_steps": 0, "max_grad_norm": 0.0},
    }
    assert recipe_values("blue_turn", 1.0) == {
        **{"rank": 16, "learning_rate": 7e-5, "steps": 2200, "checkpoint_every": 100, "epochs": 0}
    }
    (loss, bend) = dataset_steps("jpeg_rot", 1.0, seed=4)
    assert loss.operation == "generation_loss" and dict(loss.parameters)["generations"] == 12
    assert loss.fraction == 0.8 and loss.seed == bend.seed == 4 and bend.operation == "quantization_bend"


def test_a_stumbling_sampler_is_careful_at_0_and_extreme_at_1() -> None:
    assert sample_values("sampler_stumble", 0.0) == {"steps": 20, "cfg": 7.0}
    assert sample_values("sampler_stumble", 1.0) == {"steps": 4, "cfg": 22.0, "negative": ""}
    dial = [sample_values("sampler_stumble", number / 20) for number in range(21)]
    assert [values["steps"] for values in dial] == sorted((values["steps"] for values in dial), reverse=True)
    assert [values["cfg"] for values in dial] == sorted(values["cfg"] for values in dial)
    half = sample_values("sampler_stumble", 0.5)
    assert half["steps"] == round(math.sqrt(20 * 4)) and half["cfg"] == pytest.approx(math.sqrt(7 * 22))
    assert all(type(values["steps"]) is int for values in dial)


@pytest.mark.parametrize("name", [*DATASET, *RECIPE])
@given(intensity=DIAL)
@settings(max_examples=10, deadline=None)
def test_every_intensity_gives_sample_settings(name: str, intensity: float) -> None:
    before = SampleSettings(prompts=("a cat",), negative="blurry", seeds=(1, 2))
    values = sample_values(name, intensity)
    changed = replace(before, **values)
    assert replace(changed, **{key: getattr(before, key) for key in values}) == before
    assert all(type(getattr(changed, key)) is type(getattr(before, key)) for key in values)


@pytest.mark.parametrize("name", DATASET)
@pytest.mark.parametrize("intensity", [0.05, 0.5, 1.0])
def test_steps_scale_with_the_dial_and_tags_do_not(name: str, intensity: float) -> None:
    for step, full in zip(dataset_steps(name, intensity), dataset_steps(name, 1.0), strict=True):
        tags = step.operation == "glitch_tags"
        assert step.severity == (1.0 if tags else pytest.approx(full.severity * intensity))
        assert replace(step, severity=full.severity) == full


@pytest.mark.parametrize("name", DATASET)
def test_presets_change_what_they_say(name: str, photos: Dataset) -> None:
    preset = find_preset(name)
    subjects = {find_operation(touch.operation).subject for touch in (*preset.pictures, *preset.captions)}
    after = photos
    for step in dataset_steps(name, 1.0, seed=1):
        after = after.with_step(step)
    before = [photos.sample(index) for index in range(4)]
    found = [after.sample(index) for index in range(4)]
    changed = [one.image.tobytes() != other.image.tobytes() for one, other in zip(before, found, strict=True)]
    assert any(changed) == ("pictures" in subjects)
    assert any(one.caption != other.caption for one, other in zip(before, found, strict=True)) == (
        "captions" in subjects
    )
    if "glitch_tags" in (touch.operation for touch in preset.captions):
        assert ["glx_" in sample.caption for sample in found] == changed
    assert all("prtkl" in sample.caption for sample in found) == (name != "semantic_drift")


@pytest.mark.parametrize("name", PRESETS)
def test_reports_hide_nothing(name: str) -> None:
    preset = find_preset(name)
    for side in ("dataset", "recipe"):
        report = describe_preset(name, 0.7, side)
        for text in (preset.title, preset.why, preset.by_hand, preset.sampling, preset.weights, preset.missing):
            assert text in report
        assert [
            touch.operation for touch in (*preset.pictures, *preset.captions) if touch.operation not in report
        ] == []
        text = [each for part in preset.text for each in part.settings]
        assert [each.name for each in (*preset.recipe, *text, *preset.samples) if each.name not in report] == []


def test_help_pages_list_every_preset_and_what_is_missing() -> None:
    for page, names in (("GlitchDatasetPreset.md", DATASET), ("GlitchRecipePreset.md", RECIPE)):
        text = (PAGES / page).read_text(encoding="utf-8")
        for name in names:
            assert f"`{name}`" in text and find_preset(name).missing in text, (page, name)
    both = "".join(
        (PAGES / page).read_text(encoding="utf-8") for page in ("GlitchDatasetPreset.md", "GlitchRecipePreset.md")
    )
    assert [name for name in PRESETS if f"`{name}`" not in both] == []


TRAINED_TEXT = Recipe(text_encoder=TextEncoderSettings(), embeddings=(EmbeddingSettings("my-word", num_vectors=5),))


@pytest.mark.parametrize("name", [name for name in RECIPE if find_preset(name).text])
@given(intensity=DIAL)
@settings(max_examples=30, deadline=None)
def test_every_intensity_gives_a_text_side(name: str, intensity: float) -> None:
    """What a preset does not name stays; what it names is trained above 0, and not in a careful training."""
    named = {part.part for part in find_preset(name).text}
    for before in (Recipe(), TRAINED_TEXT):
        changed = before.with_text(text_values(name, intensity))
        trains = {"text_encoder": changed.text_encoder is not None, "word": bool(changed.embeddings)}
        assert all(trains[part] == (intensity > 0 and name != "control") for part in named)
        assert changed.changed(text_encoder=before.text_encoder, embeddings=before.embeddings) == before
        assert "text_encoder" in named or changed.text_encoder == before.text_encoder
        assert "word" in named or changed.embeddings == before.embeddings


def test_semantic_drift_trains_the_text_encoders_harder_with_the_dial() -> None:
    """Oracle: the geometric mean of 1e-6 and the full 1e-4, for both encoders; T5 has no part in it."""
    half = Recipe().with_text(text_values("semantic_drift", 0.5)).text_encoder
    full = Recipe().with_text(text_values("semantic_drift", 1.0)).text_encoder
    assert half.learning_rate_clip_l == half.learning_rate_clip_g == pytest.approx(1e-5)
    assert full == TextEncoderSettings(learning_rate_clip_l=1e-4, learning_rate_clip_g=1e-4)
    assert full.text_encoder_frac == 1.0


def test_the_blue_turn_is_pivotal_tuning_as_it_was_run() -> None:
    """Two vectors, frozen after 0.3 of the steps; a word of the user's own keeps its name and what is not named."""
    values = text_values("blue_turn", 1.0)
    (word,) = Recipe().with_text(values).embeddings
    expected = EmbeddingSettings("prtkl", num_vectors=2, init="noise", learning_rate=2e-4, ti_frac=0.3)
    assert word == expected
    own = EmbeddingSettings("mine", num_vectors=5, norm_pull=0.5, ti_frac=0.9)
    (kept,) = Recipe(embeddings=(own,)).with_text(values).embeddings
    assert kept == replace(expected, token="mine", norm_pull=0.5)


@pytest.mark.parametrize("intensity", [-0.1, 1.1, math.nan])
def test_impossible_intensities_are_refused(intensity: float) -> None:
    for call in (dataset_steps, recipe_values, text_values):
        with pytest.raises(ValueError, match="intensity: got"):
            call("control", intensity)
    with pytest.raises(ValueError, match="preset: got 'meteor', allowed"):
        recipe_values("meteor", 1.0)


@pytest.mark.xdist_group("server")
def test_presets_on_the_server(server: ComfyServer) -> None:
    write_dataset(server.base / "input" / "preset", ["chelsea", "coffee", "rocket"])
    prompt = {
        "load": node("GlitchLoadDataset", LOAD | {"folder": "input/preset"}),
        "none": node("GlitchDatasetPreset", {"preset": "schwitters", "intensity": 0.0, "seed": 0}, dataset=["load", 0]),
        "full": node("GlitchDatasetPreset", {"preset": "schwitters", "intensity": 1.0, "seed": 0}, dataset=["none", 0]),
        "images": node("GlitchDatasetToImages", {"variant": 0}, dataset=["full", 0]),
        "clean": node("GlitchDatasetToImages", {"variant": 0}, dataset=["none", 0]),
    }
    found = shown(server, prompt, report=["full", 1], false=["images", 1], true=["clean", 1], zero=["none", 1])
    assert "Schwitters" in found["report"] and "learning_rate 0.0003" in found["report"]
    assert "photo of" in found["true"] and "photo of" not in found["false"]
    assert "Done to the dataset: nothing" in found["zero"]


def test_the_recipe_node_changes_a_recipe(comfy) -> None:
    from glitch_lora.nodes.presets import GlitchRecipePreset

    changed, report = GlitchRecipePreset.execute(Recipe(seed=3), "shout", 1.0).result
    assert changed == Recipe(seed=3, rank=64, alpha=32.0, learning_rate=1e-3)
    assert "rank 64" in report and "Shout at intensity 1" in report and "Warning" not in report


def test_the_recipe_node_trains_the_text_and_says_so(comfy) -> None:
    from glitch_lora.nodes.presets import GlitchRecipePreset

    changed, report = GlitchRecipePreset.execute(Recipe(), "blue_turn", 1.0).result
    assert [word.token for word in changed.embeddings] == ["prtkl"] and changed.train_network
    assert "new word (num_vectors 2, init noise, learning_rate 0.0002, ti_frac 0.3)" in report
    drifting, report = GlitchRecipePreset.execute(changed, "semantic_drift", 1.0).result
    assert drifting.embeddings == changed.embeddings and drifting.text_encoder is not None
    assert "LoRA on the text encoders (learning_rate_clip_l 0.0001, learning_rate_clip_g 0.0001)" in report
    careful, report = GlitchRecipePreset.execute(drifting, "control", 1.0).result
    assert not careful.trains_text and "no LoRA on the text encoders, no new word" in report


def test_the_recipe_node_warns_of_spikes_that_never_come(comfy) -> None:
    from glitch_lora.nodes.presets import GlitchRecipePreset

    short = Recipe(steps=50, checkpoint_every=10)
    report = GlitchRecipePreset.execute(short, "overshoot", 1.0).result[1]
    assert "lr_spike_every 200 is more than the recipe's 50 steps" in report and report.count("Warning") == 1
    assert "Warning" not in GlitchRecipePreset.execute(short.changed(steps=200), "overshoot", 1.0).result[1]
    assert len(Recipe(steps=50, samples=SampleSettings(every=60)).warnings()) == 2
    assert not Recipe(steps=50, epochs=1).warnings()


def test_sample_sizes_that_no_sweep_could_draw_are_refused() -> None:
    with pytest.raises(ValueError, match="sample_width: got 65, allowed multiples of 8"):
        Recipe(samples=SampleSettings(width=65))


def test_a_sweep_takes_the_stumble_from_the_recipe(comfy, tmp_path: Path) -> None:
    """The prompts, seeds and sizes of the recipe's samples stay; a sweep with empty fields draws as they say now."""
    from glitch_lora.nodes.presets import GlitchRecipePreset
    from glitch_lora.sampling.request import SweepTexts, plan_from_texts
    from glitch_lora.training.run import RunWriter, content_key

    own = SampleSettings(prompts=("a cat",), negative="blurry", seeds=(3,), steps=30, cfg=5.0)
    plans = []
    for intensity in (0.0, 1.0):
        recipe, report = GlitchRecipePreset.execute(Recipe(samples=own), "sampler_stumble", intensity).result
        assert recipe.changed(samples=own) == Recipe(samples=own)
        writer = RunWriter.create(tmp_path, content_key(intensity), "stumble", {"recipe": recipe.to_json()})
        writer.save_checkpoint(5, {"lora_unet_x.alpha": torch.tensor(1.0)}, {})
        plans.append(plan_from_texts(SweepTexts(), writer.run, ["euler"], ["normal"], 10))
    careful, stumbling = plans
    assert (careful.steps, careful.cfg, careful.negative) == ((20,), (7.0,), ("blurry",))
    assert (stumbling.steps, stumbling.cfg, stumbling.negative) == ((4,), (22.0,), ("",))
    assert careful.prompt == stumbling.prompt == ("a cat",) and careful.seed == stumbling.seed == (3,)
    assert "sample_steps 4, sample_cfg 22, sample_negative none" in report
