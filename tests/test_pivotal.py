"""Whole trainings of words and text encoders: textual inversion, text-encoder LoRA, pivotal tuning.

Oracles: equality of tensors between runs, bytes of what the checkpoints and states hold.
"""

from dataclasses import replace
from pathlib import Path

import comfy.model_management
import pytest
import torch
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.training.lora_file import load_safetensors
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.run import Run
from glitch_lora.training.session import Outcome, train
from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings
from glitch_lora.training.words import split_bundle
from training_scene import Events, graph, photographs, recipe, request

Interrupted = comfy.model_management.InterruptProcessingException
Tensors = dict[str, torch.Tensor]
STEPS = 6
FIRST = EmbeddingSettings(
    "prtkl", num_vectors=2, init_text="glitch", learning_rate=5e-3, captions="style templates", ti_frac=0.5
)
SECOND = EmbeddingSettings(
    "zbrk", init="noise", learning_rate=1e-3, captions="object templates", ti_frac=2 / 3, norm_pull=0.5
)
ENCODERS = TextEncoderSettings(1e-3, 2e-3, rank=2, alpha=2.0, text_encoder_frac=1 / 3, lr_schedule="cosine")
WHOLE = recipe(steps=STEPS, checkpoint_every=1, batch_size=2, lora_dropout=0.2, caption_dropout=0.3).changed(
    gradient_checkpointing=False
)
# The words stop at 3 and 4, the encoders at 2, the network learns throughout.
TOGETHER = WHOLE.changed(embeddings=(FIRST, SECOND), text_encoder=ENCODERS)
# The word first, then the LoRA: both change over at 3.
IN_TURN = WHOLE.changed(embeddings=(FIRST,), network_start_frac=0.5)
RECIPES = {"together": TOGETHER, "in turn": IN_TURN}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return photographs(tmp_path_factory.mktemp("photographs"))


def trained(family: str, dataset: Dataset, settings: Recipe, folder: Path, stop_at: int | None = None) -> Outcome:
    """Train as ComfyUI runs a node: in inference mode."""
    with torch.inference_mode():
        return train(graph(family), dataset, settings, request(folder), Events(stop_at))


def tensors_at(run: Run, step: int) -> Tensors:
    return load_safetensors(run.checkpoint(step).path)[0]


def all_bytes(run: Run) -> dict[str, bytes]:
    folders = (run.folder / "checkpoints", run.folder / "state")
    return {path.name: path.read_bytes() for folder in folders for path in sorted(folder.iterdir())}


def state_of(folder: Path) -> Tensors:
    (path,) = (folder / "runs").rglob("state-*.safetensors")
    return load_safetensors(path)[0]


def group(tensors: Tensors, begin: str) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(begin)}


def same(a: Tensors, b: Tensors) -> bool:
    return bool(a) and a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def straight(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Each recipe in one go."""
    return {
        name: trained("sd15", dataset, settings, tmp_path_factory.mktemp("straight"))
        for name, settings in RECIPES.items()
    }


def changes(run: Run, begin: str) -> list[int]:
    """Return the steps whose checkpoint holds other values than the one before, of the tensors that begin so."""
    held = [group(tensors_at(run, step), begin) for step in range(1, STEPS + 1)]
    return [step for step in range(2, STEPS + 1) if not same(held[step - 1], held[step - 2])]


def test_each_part_changes_in_its_own_steps_and_in_no_other(straight: dict[str, Outcome]) -> None:
    run = straight["together"].run
    assert changes(run, "bundle_emb.prtkl.") == [2, 3]
    assert changes(run, "bundle_emb.zbrk.") == [2, 3, 4]
    assert changes(run, "lora_te_") == [2]
    assert changes(run, "lora_unet_") == [2, 3, 4, 5, 6]
    run = straight["in turn"].run
    assert changes(run, "bundle_emb.prtkl.") == [2, 3]
    assert changes(run, "lora_unet_") == [4, 5, 6]
    first = group(tensors_at(run, 3), "lora_unet_")
    assert not any(value.any() for name, value in first.items() if "lora_up" in name)


def test_the_records_tell_rate_and_gradient_of_each_part(straight: dict[str, Outcome]) -> None:
    parts = [line["parts"] for line in straight["together"].run.metrics()]
    assert [list(part) for part in parts] == [
        *[["network", "clip_l", "embedding.prtkl", "embedding.zbrk"]] * 2,
        ["network", "embedding.prtkl", "embedding.zbrk"],
        ["network", "embedding.zbrk"],
        *[["network"]] * 2,
    ]
    rates = {name: part["learning_rate"] for name, part in parts[0].items()}
    assert rates == {"network": 1e-3, "clip_l": 1e-3, "embedding.prtkl": 5e-3, "embedding.zbrk": 1e-3}
    assert parts[1]["clip_l"]["learning_rate"] == pytest.approx(0.5e-3), "half a cosine over two steps"
    assert all(part["network"]["grad_norm"] > 0 for part in parts)


@pytest.mark.parametrize(
    ("name", "stop_at"),
    [*(("together", step) for step in range(1, STEPS)), ("in turn", 2), ("in turn", 3), ("in turn", 4)],
)
def test_stopping_anywhere_and_going_on_is_the_same_training(
    name: str, stop_at: int, dataset: Dataset, straight: dict[str, Outcome], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        trained("sd15", dataset, RECIPES[name], tmp_path, stop_at)
    optimizer = group(state_of(tmp_path), "optimizer.")
    if stop_at > 1:  # the captions of the first update happen to be dropped
        assert any("prtkl" in key for key in optimizer) == (stop_at <= 3), "no optimizer state after the pivot"
    outcome = trained("sd15", dataset, RECIPES[name], tmp_path)
    assert outcome.run.losses() == straight[name].run.losses()
    assert all_bytes(outcome.run) == all_bytes(straight[name].run)


def test_sdxl_goes_on_at_the_pivot_as_if_it_had_never_stopped(dataset: Dataset, tmp_path: Path) -> None:
    whole = trained("sdxl", dataset, TOGETHER, tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained("sdxl", dataset, TOGETHER, tmp_path / "parts", 3)
    assert all_bytes(trained("sdxl", dataset, TOGETHER, tmp_path / "parts").run) == all_bytes(whole.run)


def test_a_word_alone_is_a_few_kilobytes(dataset: Dataset, tmp_path: Path) -> None:
    """Of 49408 rows of a table the new ones alone are trained, stored and have moments."""
    word = EmbeddingSettings("prtkl", num_vectors=2, captions="style templates")
    outcome = trained("sd15", dataset, recipe(steps=3, train_network=False, embeddings=(word,)), tmp_path)
    lora, words = split_bundle(tensors_at(outcome.run, 3))
    assert lora == {} and words["prtkl"]["clip_l"].shape == (2, 64)
    state = state_of(tmp_path)
    assert sum(tensor.numel() for tensor in state.values()) == 3 * 2 * 64 + 1  # the values, two moments, the step
    (path,) = (tmp_path / "runs").rglob("state-*.safetensors")
    assert path.stat().st_size < 4096 and outcome.run.checkpoint(3).path.stat().st_size < 8192
    assert not list((tmp_path / "loras").glob("*")), "there is no LoRA to publish"
    assert changes_of_words(outcome.run) == [3], "it must have learned"


def changes_of_words(run: Run) -> list[int]:
    steps = [checkpoint.step for checkpoint in run.checkpoints()]
    held = [group(tensors_at(run, step), "bundle_emb.") for step in steps]
    return [step for step, a, b in zip(steps[1:], held, held[1:], strict=False) if not same(a, b)]


def test_the_same_graph_trains_to_the_same_bits(
    dataset: Dataset, straight: dict[str, Outcome], tmp_path: Path, unchanged_random_state: None
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(123)
        again = trained("sd15", dataset, TOGETHER, tmp_path)
    assert all_bytes(again.run) == all_bytes(straight["together"].run)
    other = trained("sd15", dataset, TOGETHER.changed(seed=1), tmp_path)
    assert not same(tensors_at(other.run, STEPS), tensors_at(again.run, STEPS))


def test_gradient_checkpointing_does_not_change_the_result(
    dataset: Dataset, straight: dict[str, Outcome], tmp_path: Path
) -> None:
    outcome = trained("sd15", dataset, TOGETHER.changed(gradient_checkpointing=True), tmp_path)
    ours, other = tensors_at(outcome.run, STEPS), tensors_at(straight["together"].run, STEPS)
    assert max(float((ours[key] - other[key]).abs().max()) for key in ours) <= 1e-6


def test_accumulating_equals_one_larger_batch(tmp_path: Path) -> None:
    # The same item everywhere: only noise, sigmas and templates differ.
    one_item = photographs(tmp_path / "data", count=1)
    whole = TOGETHER.changed(steps=3, lora_dropout=0.0, batch_size=4, caption_dropout=0.5)
    parts = whole.changed(batch_size=1, grad_accumulation_steps=4)
    quadrupled = replace(one_item, items=(replace(one_item.items[0], repeats=4),))
    a = trained("sd15", quadrupled, whole, tmp_path / "a").run
    b = trained("sd15", quadrupled, parts, tmp_path / "b").run
    assert torch.allclose(torch.tensor(a.losses()), torch.tensor(b.losses()), rtol=1e-4)
    for mine, other in zip(a.metrics(), b.metrics(), strict=True):
        norms = [{name: part["grad_norm"] for name, part in line["parts"].items()} for line in (mine, other)]
        assert norms[0] == pytest.approx(norms[1], rel=2e-3)


def test_a_word_that_no_caption_has_and_no_template_names_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    word = EmbeddingSettings("prtkl")
    with pytest.raises(ValueError, match="'prtkl', which no caption of the dataset has"):
        trained("sd15", dataset, recipe(embeddings=(word,)), tmp_path)


def test_an_encoder_with_a_rate_of_zero_is_left_alone(dataset: Dataset, tmp_path: Path) -> None:
    only_g = TextEncoderSettings(0.0, 1e-3, rank=2, alpha=2.0)
    outcome = trained("sdxl", dataset, recipe(steps=1, text_encoder=only_g), tmp_path)
    names = {name.split("_text_model")[0] for name in tensors_at(outcome.run, 1) if name.startswith("lora_te")}
    assert names == {"lora_te2"}
    with pytest.raises(ValueError, match="a rate of 0 for every encoder of this model.*learning_rate_clip_l"):
        trained("sd15", dataset, recipe(text_encoder=only_g), tmp_path)
