"""Choosing and mixing pictures. Oracles: the files that were written, and the samples of the whole dataset."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.derived import merged
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.sample import Sample
from glitch_lora.dataset.selection import Selection, drawn, numbers_in, parted
from glitch_lora.glitch.step import corruption
from hypothesis import given
from hypothesis import strategies as st
from photographs import write_dataset
from PIL import Image

NAMES = ["astronaut", "chelsea", "coffee", "hubble", "rocket"]


@dataclasses.dataclass(frozen=True)
class Count:
    """A step that writes into a caption how many samples there are: it looks at the others."""

    seed: int = 0
    name: str = "count"
    kind: str = "caption"
    touches: str = "caption"
    varies: bool = False
    gathers: bool = True

    def apply(self, sample: Sample, rng: np.random.Generator, company: Any) -> Sample:
        return sample.with_caption(f"{sample.caption} of {len(company.captions)}")

    def describe(self) -> dict:
        return dataclasses.asdict(self)


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    return load_folder(write_dataset(tmp_path / "photos", NAMES))


def names(dataset: Dataset) -> list[str]:
    return [item.name.removesuffix(".png") for item in dataset.items]


def chosen(dataset: Dataset, **tests: Any) -> list[str]:
    return [NAMES[index] for index in Selection(**tests).indices(dataset)]


def test_numbers_are_those_on_the_contact_sheet() -> None:
    assert numbers_in("1-3, 5,5  7", 9) == {0, 1, 2, 4, 6}
    assert numbers_in(" 2 - 4 ", 9) == {1, 2, 3}
    assert numbers_in("  ", 3) == {0, 1, 2}
    for text, part in {"0": "'0'", "1-": "'1-'", "4-2": "'4-2'", "2,x": "'x'", "10": "'10'", "1-10": "'1-10'"}.items():
        with pytest.raises(ValueError, match=f"numbers: got {part}, allowed numbers and ranges from 1 to 9"):
            numbers_in(text, 9)


@given(st.sets(st.integers(1, 60)))
def test_written_numbers_are_read_back(numbers: set[int]) -> None:
    text = ", ".join(map(str, sorted(numbers)))
    assert numbers_in(text, 60) == ({number - 1 for number in numbers} or set(range(60)))


def test_words_sizes_and_numbers(photos: Dataset) -> None:
    assert chosen(photos, contains="Coffee") == ["coffee"]
    assert chosen(photos, contains="a photo, chelsea") == ["chelsea"]
    assert chosen(photos, contains="photos") == []
    assert chosen(photos, lacks="coffee, ROCKET") == ["astronaut", "chelsea", "hubble"]
    assert chosen(photos, min_side=401) == ["astronaut", "hubble", "rocket"]  # 512, 872 and 427 pixels
    assert chosen(photos, max_side=512) == ["astronaut", "chelsea"]
    assert chosen(photos, numbers="2-4", lacks="hubble", invert=True) == ["astronaut", "hubble", "rocket"]
    assert chosen(photos.with_step(TriggerWord("prtkl")), contains="prtkl") == NAMES


def test_a_draw_depends_on_seed_and_content_only(photos: Dataset, tmp_path: Path) -> None:
    draws = {tuple(chosen(photos, count=2, seed=seed)) for seed in range(40)}
    assert len(draws) > 5 and all(len(draw) == 2 for draw in draws)
    assert chosen(photos, count=9) == NAMES
    reordered = dataclasses.replace(photos, items=photos.items[::-1])
    for seed in range(5):
        again = [reordered.items[index].name for index in Selection(count=2, seed=seed).indices(reordered)]
        assert sorted(again) == [f"{name}.png" for name in chosen(photos, count=2, seed=seed)]


def test_both_parts_keep_chain_and_streams(photos: Dataset) -> None:
    damaged = photos.with_step(TriggerWord("prtkl")).with_step(corruption("generation_loss", {"generations": 2}))
    selected, rest = parted(damaged, [1, 3])
    assert names(selected) == ["chelsea", "hubble"] and names(rest) == ["astronaut", "coffee", "rocket"]
    assert selected.steps == rest.steps == damaged.steps
    whole = damaged.sample(1)
    assert selected.sample(0).image.tobytes() == whole.image.tobytes()
    assert selected.sample(0).caption == whole.caption == "prtkl, a photo of chelsea"


def test_a_step_that_looks_at_others_still_sees_all(photos: Dataset) -> None:
    selected, rest = parted(photos.with_step(Count()), [0], repeats=4)
    assert [selected.caption(0), rest.caption(0)] == ["a photo of astronaut of 5", "a photo of chelsea of 5"]
    assert selected.entries == (0,) * 4 and selected.items[0].repeats == 4
    again = parted(selected, [0], repeats=2)[0]
    assert again.items[0].repeats == 8 and again.sample(0).caption == "a photo of astronaut of 5"


def test_repeats_make_a_near_duplicate_set(photos: Dataset) -> None:
    selected, rest = parted(photos, [2], repeats=900)
    whole = merged([selected, rest])
    assert len(whole.entries) == 904 and whole.fingerprint != photos.fingerprint
    with pytest.raises(ValueError, match=r"repeats: got 2 for coffee\.png, which counts 900 times already"):
        parted(selected, [0], repeats=2)
    with pytest.raises(ValueError, match="allowed 1 to 999"):
        parted(photos, [0], repeats=0)


def test_copies_are_told_apart(tmp_path: Path) -> None:
    for name in "abc":
        Image.new("RGB", (16, 16)).save(tmp_path / f"{name}.png")
    assert len(drawn(load_folder(tmp_path), range(3), 2, 0)) == 2


def test_what_was_skipped_is_told_once(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["coffee", "chelsea"])
    (tmp_path / "bad.png").write_text("no picture")
    dataset = load_folder(tmp_path)
    assert [name for name, _ in dataset.broken] == ["bad.png"] and "not a picture" in dataset.broken[0][1]
    selected, rest = parted(dataset, [0])
    assert merged([selected, rest]).broken == dataset.broken
