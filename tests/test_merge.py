"""Several datasets in one proportion. Oracle: the datasets that went in."""

from pathlib import Path

import pytest
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.merge import mixed
from photographs import photograph, write_dataset
from PIL import Image


@pytest.fixture
def two(tmp_path: Path) -> list[Dataset]:
    style = load_folder(write_dataset(tmp_path / "style", ["chelsea", "coffee"])).with_step(TriggerWord("prtkl"))
    for number in range(12):
        path = tmp_path / "plain" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 32), f"hsl({number * 30}, 80%, 50%)").save(path)
        path.with_suffix(".txt").write_text(f"plain {number}")
    return [style, load_folder(tmp_path / "plain")]


def test_each_keeps_its_own_chain(two: list[Dataset]) -> None:
    whole = mixed(two)
    assert len(whole) == 14
    assert whole.caption(0) == "prtkl, a photo of chelsea" and whole.caption(2) == "plain 0"
    assert whole.sample(1).image.tobytes() == photograph("coffee").tobytes()
    assert whole.with_step(TriggerWord("x")).caption(13) == "x, plain 11"


@pytest.mark.parametrize(("share", "count"), [(0, 12), (0.1, 1), (1, 2), (2.5, 5), (5, 10), (50, 12)])
def test_the_share_is_counted_from_the_first(two: list[Dataset], share: float, count: int) -> None:
    assert len(mixed(two, share)) == 2 + count


def test_the_share_is_drawn_by_seed(two: list[Dataset]) -> None:
    draws = {tuple(mixed(two, 1, seed=seed).caption(index) for index in (2, 3)) for seed in range(20)}
    assert len(draws) > 5
    assert mixed(two, 1, seed=3).fingerprint == mixed(two, 1, seed=3).fingerprint


def test_the_others_can_count_more(two: list[Dataset]) -> None:
    whole = mixed(two, share=1, repeats=3)
    assert [item.repeats for item in whole.items] == [1, 1, 3, 3]
    assert len(mixed([*two, two[1]], share=1)) == 6


def test_nothing_to_mix_is_refused(two: list[Dataset]) -> None:
    with pytest.raises(ValueError, match="datasets: got none"):
        mixed([])
    with pytest.raises(ValueError, match="got no pictures"):
        mixed([Dataset(()), Dataset(())])
    with pytest.raises(ValueError, match="share: got -1"):
        mixed(two, -1)
    assert len(mixed([Dataset(()), two[0]])) == 2
