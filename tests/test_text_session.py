"""Trainings of the text side from beginning to end: odd lengths, memory, files, what is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import training_scene as scene
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.training.session import Outcome, train
from glitch_lora.training.text_settings import EmbeddingSettings

WORD = EmbeddingSettings("zxq", captions="style templates")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return scene.photographs(tmp_path_factory.mktemp("pictures"), count=2)


def run(dataset: Dataset, folder: Path, **settings: Any) -> Outcome:
    recipe = scene.recipe(**{"embeddings": (WORD,), "steps": 2} | settings)
    place = replace(scene.request(folder), embeddings_folder=folder / "embeddings")
    return train(scene.graph("sd15"), dataset, recipe, place, scene.Events())


def test_a_late_lora_still_learns_in_a_short_training(dataset: Dataset, tmp_path: Path) -> None:
    """0.9 of two steps is two, after which nothing would be left for the LoRA."""
    lora = run(dataset, tmp_path, network_start_frac=0.9).lora()
    ups = [tensor for name, tensor in lora.items() if name.endswith("lora_up.weight")]
    assert ups and all(up.abs().max() > 0 for up in ups)
