"""Captions that name the damage of their pictures.

Oracle: the pictures themselves. One whose pixels differ from the file's was damaged, any other was not.
"""

from pathlib import Path

import numpy as np
import pytest
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.derived import merged, with_copies
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import find_operation
from glitch_lora.glitch.step import corruption
from PIL import Image

JPEG, LOSS = "glx_jpeg", "glx_genloss"


@pytest.fixture
def noisy(tmp_path: Path) -> Dataset:
    """Twenty-four pictures of noise, which any damage changes."""
    for number in range(24):
        pixels = generator(number, "picture").integers(0, 256, (24, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.png")
        (tmp_path / f"{number:02}.txt").write_text(f"picture {number}", encoding="utf-8")
    return load_folder(tmp_path).with_step(TriggerWord("prtkl"))


def damaged(dataset: Dataset) -> list[bool]:
    """Say of each sample whether its picture is another one than its file's."""
    return [
        dataset.sample(index).image.tobytes() != Image.open(item.path).convert("RGB").tobytes()
        for index, item in enumerate(dataset.items)
    ]


def tagged(dataset: Dataset, tag: str) -> list[bool]:
    """Say of each caption whether it has the tag; with and without its picture it must be the same caption."""
    texts = [dataset.caption(index) for index in range(len(dataset))]
    assert texts == [dataset.sample(index).caption for index in range(len(dataset))]
    return [tag in text.split(", ") for text in texts]


@pytest.mark.parametrize("settings", [{"fraction": 0.5}, {"fraction": 0.5, "severity_jitter": 0.9, "severity": 0.6}])
def test_exactly_the_damaged_pictures_are_tagged(noisy: Dataset, settings: dict[str, float]) -> None:
    dataset = noisy.with_step(corruption("jpeg_recompression", **settings)).with_step(corruption("glitch_tags"))
    assert tagged(dataset, JPEG) == damaged(dataset)
    assert 4 < sum(tagged(dataset, JPEG)) < 20


def test_a_jittered_severity_that_falls_to_nothing_is_not_tagged(noisy: Dataset) -> None:
    step = corruption("jpeg_recompression", severity=0.1, severity_jitter=1.0)
    dataset = noisy.with_step(step).with_step(corruption("glitch_tags"))
    assert tagged(dataset, JPEG) == damaged(dataset) and 2 < sum(tagged(dataset, JPEG)) < 22


def test_variants_are_tagged_one_by_one(noisy: Dataset) -> None:
    step = corruption("jpeg_recompression", fraction=0.5, damage="new for each variant")
    dataset = noisy.with_step(step).with_step(corruption("glitch_tags"))
    for index, item in enumerate(dataset.items[:8]):
        for variant in range(4):
            sample = dataset.sample(index, variant)
            other = sample.image.tobytes() != Image.open(item.path).convert("RGB").tobytes()
            assert (JPEG in sample.caption) == (JPEG in dataset.caption(index, variant)) == other


def test_merged_datasets_keep_their_tags(noisy: Dataset) -> None:
    half = noisy.with_step(corruption("jpeg_recompression", fraction=0.5))
    other = noisy.with_step(corruption("generation_loss", fraction=0.5, severity_jitter=0.3))
    before = merged([half.with_step(corruption("glitch_tags")), other.with_step(corruption("glitch_tags"))])
    after = merged([half, other]).with_step(corruption("glitch_tags"))
    for dataset in (before, after):
        marks = [first or second for first, second in zip(tagged(dataset, JPEG), tagged(dataset, LOSS), strict=True)]
        assert marks == damaged(dataset) and 0 < sum(tagged(dataset, JPEG)) < 24 > sum(tagged(dataset, LOSS)) > 0
    once = before.with_step(corruption("glitch_tags"))  # what is already said is not said again
    assert [once.caption(index) for index in range(48)] == [before.caption(index) for index in range(48)]


def test_copies_beside_their_clean_twins_are_told_apart(noisy: Dataset) -> None:
    both = with_copies(noisy, corruption("jpeg_recompression"), copies=2, keep_clean=True)
    dataset = both.with_step(corruption("glitch_tags", {"clean_word": "clean"}))
    assert tagged(dataset, JPEG) == damaged(dataset) == [not clean for clean in tagged(dataset, "clean")]
    assert sum(damaged(dataset)) == 48 and len(dataset) == 72


def test_several_kinds_of_damage_are_named_in_order(noisy: Dataset) -> None:
    chain = noisy.with_step(corruption("generation_loss")).with_step(corruption("jpeg_recompression", severity=0.5))
    assert chain.with_step(corruption("glitch_tags")).caption(0) == f"prtkl, picture 0, {LOSS}, {JPEG}"
    worded = chain.with_step(corruption("glitch_tags", {"severity_words": True, "position": "prefix"}))
    assert worded.caption(0) == f"heavy {LOSS}, medium {JPEG}, prtkl, picture 0"


def test_the_worst_of_repeated_damage_counts() -> None:
    damage = (("jpeg_recompression", 0.2), ("jpeg_recompression", 0.9), ("jpeg_recompression", 0.1))
    found = find_operation("glitch_tags").apply("a cat", generator(0), 1.0, Context(damage=damage), severity_words=True)
    assert found == "a cat, heavy glx_jpeg"


def test_dropping_parts_later_spares_the_tags(noisy: Dataset) -> None:
    chain = noisy.with_step(corruption("jpeg_recompression", fraction=0.5)).with_step(corruption("glitch_tags"))
    thinned = chain.with_step(corruption("tag_dropout", {"probability": 1.0, "keep_first": 0}))
    assert tagged(thinned, JPEG) == damaged(thinned)
    assert {thinned.caption(index) for index in range(24)} == {"prtkl", f"prtkl, {JPEG}"}
