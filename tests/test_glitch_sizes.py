"""Lies about a picture's size. Oracles: the formula, and what SDXL's conditioning reads from an encoded dataset."""

from dataclasses import replace

import numpy as np
import pytest
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import all_operations, find_operation
from glitch_lora.glitch.sizes.lies import Sizes
from glitch_lora.glitch.step import corruption
from glitch_lora.host.graph import GraphEncoders
from glitch_lora.training.encode import encode_dataset
from glitch_lora.training.store import RamStore
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_clip, tiny_vae
from training_scene import Events, photographs, recipe

TRUE = Sizes((1000, 500), (16, 0), (64, 128))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return photographs(tmp_path_factory.mktemp("photographs"))


def lied(severity: float = 1.0, seed: int = 0, **values: object) -> Sizes:
    return find_operation("size_lie").apply(TRUE, generator(seed), severity, **values)


def test_it_is_the_formula() -> None:
    assert [operation.name for operation in all_operations("sizes")] == ["size_lie"]
    assert lied(original=0.25, crop=0.5) == Sizes((250, 125), (32, 64), (64, 128))
    assert lied(0.5, original=0.25, crop=0.5) == Sizes((500, 250), (24, 32), (64, 128))
    assert lied(0.0) == lied(original=1.0, crop=0.0, severity=0.001) == TRUE
    widths = [lied(severity, original=8.0).original[0] for severity in np.linspace(0.1, 1, 10)]
    assert widths == sorted(widths) and widths[-1] == 8000


@given(severity=st.floats(0.01, 1), seed=st.integers(0, 2**40), original=st.floats(0.05, 16), crop=st.floats(0, 4))
def test_random_lies_lie_between_the_truth_and_the_settings(
    severity: float, seed: int, original: float, crop: float
) -> None:
    told = lied(severity, seed, original=original, crop=crop, random=True)
    low, high = sorted((1.0, original))
    assert all(low * true - 1 <= side <= high * true + 1 for side, true in zip(told.original, (1000, 500), strict=True))
    assert min(16, crop * 64) - 1 <= told.crop[0] <= max(16, crop * 64) + 1
    assert told.target == TRUE.target and min(told.original) >= 1


def test_training_is_told_the_lie_and_nothing_else_changes(dataset: Dataset) -> None:
    step = corruption("size_lie", {"original": 0.5, "crop": 0.25})
    told = dataset.with_step(step)
    for index in range(4):
        before, after = dataset.sample(index), told.sample(index)
        assert after.original_size == tuple(round(side / 2) for side in before.original_size)
        assert after.crop == (16, 16)
        assert after.image.tobytes() == before.image.tobytes() and after.caption == before.caption
        assert after.damage == told.marked(index).damage == (("size_lie", 1.0),)
    encoders = GraphEncoders(tiny_clip("sdxl"), tiny_vae(), prompt_syntax=False)
    store = RamStore()
    data = encode_dataset(told, encoders, recipe(), {"clip": "a", "vae": "b"}, store, Events())
    truth = encode_dataset(dataset, encoders, recipe(), {"clip": "a", "vae": "b"}, store, Events())
    for index in range(4):
        size = data.sample(index, 0).size
        assert (size.original, size.crop, size.target) == (told.sample(index).original_size, (16, 16), (64, 64))
        assert data.sample(index, 0).latent is truth.sample(index, 0).latent
    assert told.fingerprint != dataset.fingerprint


def test_each_picture_is_told_its_own(dataset: Dataset) -> None:
    random = dataset.with_step(corruption("size_lie", {"random": True}, damage="new for each variant"))
    crops = {random.sample(index, variant).crop for index in range(4) for variant in range(3)}
    assert len(crops) > 8 and random.varies
    spared = replace(random, steps=(*dataset.steps, corruption("size_lie", fraction=0.0)))
    assert spared.sample(0).original_size == dataset.sample(0).original_size
