"""Items that come out of another dataset. Oracles: the samples themselves, decoded and damaged one by one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.derived import merged, with_copies
from glitch_lora.dataset.fits import FixedFit
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.framing import Frame
from glitch_lora.dataset.sample import Sample
from glitch_lora.dataset.seeds import generator
from glitch_lora.dataset.selection import parted
from glitch_lora.glitch.registry import all_operations
from glitch_lora.glitch.step import corruption
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """A step that writes into a caption the captions of all samples: it looks at the others."""

    seed: int = 0
    name: ClassVar[str] = "neighbours"
    kind: ClassVar[str] = "caption"
    touches: ClassVar[str] = "caption"
    varies: ClassVar[bool] = False
    gathers: ClassVar[bool] = True
    described: ClassVar[list[int]] = []

    def apply(self, sample: Sample, rng: np.random.Generator, company: Any) -> Sample:
        return sample.with_caption(" + ".join(company.captions))

    def describe(self) -> dict:
        self.described.append(1)
        return {"name": self.name, "seed": self.seed}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        pixels = generator(number, "picture").integers(0, 256, (24 + 8 * number, 32, 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{number}.png")
        (path / f"{number}.txt").write_text(f"a red thing, number {number}, by the sea", encoding="utf-8")
    return path


@pytest.fixture
def photos(folder: Path) -> Dataset:
    return load_folder(folder)


def changed(dataset: Dataset, index: int, **fields: Any) -> Dataset:
    items = list(dataset.items)
    items[index] = dataclasses.replace(items[index], **fields)
    return dataclasses.replace(dataset, items=tuple(items))


def test_a_picture_never_meets_its_own_copies(photos: Dataset) -> None:
    every = sorted(item.caption for item in photos.items)
    for copies, clean in ((3, False), (1, True), (2, True)):
        found = with_copies(photos, Neighbours(), copies, clean)
        met = [sorted(found.caption(index).split(" + ")) for index in range(len(photos) * clean, len(found))]
        assert met == [every] * len(photos) * copies


def test_another_caption_is_another_fingerprint_but_no_other_damage(photos: Dataset) -> None:
    step = corruption("salt_and_pepper")
    before, after = (with_copies(one, step, 2, True) for one in (photos, changed(photos, 1, caption="a fish")))
    assert before.fingerprint != after.fingerprint
    for index in range(len(before)):
        assert before.sample(index).image.tobytes() == after.sample(index).image.tobytes()


@pytest.mark.parametrize("fields", [{"background": (0, 0, 0)}, {"caption": "a fish"}, {"key": "0" * 64}])
def test_the_fingerprint_sees_what_a_selected_picture_was_made_of(photos: Dataset, fields: dict[str, Any]) -> None:
    def selected(dataset: Dataset) -> str:
        return parted(dataset.with_step(corruption("collage")), [0])[0].fingerprint

    assert selected(photos) == selected(photos) != selected(changed(photos, 3, **fields))


def test_keys_do_not_depend_on_the_order(photos: Dataset) -> None:
    chain = [TriggerWord("prtkl"), corruption("collage"), corruption("jpeg_recompression")]
    one = dataclasses.replace(photos, steps=tuple(chain))
    other = dataclasses.replace(one, items=photos.items[::-1])
    for make in (lambda each: merged([each]), lambda each: with_copies(each, corruption("grain"), 2, True)):
        assert {item.key for item in make(one).items} == {item.key for item in make(other).items}


def test_a_chain_is_described_once_for_all_its_items(photos: Dataset) -> None:
    copies = with_copies(photos.with_step(Neighbours()), corruption("collage"), 5, keep_clean=True)
    Neighbours.described.clear()
    assert len({item.key for item in copies.items}) == 24
    assert len(Neighbours.described) == 1


def test_captions_that_do_not_vary_are_worked_out_once(photos: Dataset) -> None:
    fixed = photos.with_step(TriggerWord("prtkl"))
    assert fixed.captions_in_order(7) is fixed.captions_in_order(0)
    varying = photos.with_step(corruption("word_noise", damage="new for each variant"))
    assert varying.captions_in_order(7) != varying.captions_in_order(0)


def test_the_report_tells_every_chain(photos: Dataset) -> None:
    framed = photos.with_step(Frame(FixedFit(width=64, height=64)))
    alike = with_copies(framed, corruption("jpeg_recompression"), 2).report()
    assert "Steps, in order:\n  1. frame:" in alike and "  2. jpeg_recompression: quality 10" in alike
    assert "Framed to:" in alike and "soften" not in alike and "8 picture(s) are smaller than their frame" in alike
    report = with_copies(photos, corruption("jpeg_recompression"), 2, keep_clean=True).report()
    assert "Steps of 4 pictures: none.\nSteps of 8 pictures, in order:\n  1. jpeg_recompression" in report
    assert "soften" in with_copies(photos, corruption("grain"), 2).with_step(framed.steps[0]).report()
    steps = [corruption("grain", seed=seed) for seed in range(10)]
    assert merged([photos.with_step(step) for step in steps]).report().endswith("\nand 2 other chains of steps")


def test_the_trigger_is_found_wherever_it_is(photos: Dataset) -> None:
    named = photos.with_step(TriggerWord("prtkl"))
    assert merged([photos, named]).trigger == merged([named, photos]).trigger == "prtkl"
    assert merged([photos, named]).with_step(TriggerWord("zq")).trigger == "zq"
    assert merged([photos, photos]).trigger == Dataset((), (TriggerWord("zq"),)).trigger == ""


@pytest.mark.parametrize("name", ["false_captions", "latent_noise", "size_lie"])
def test_only_damaged_pictures_are_softened_by_the_framing(photos: Dataset, name: str) -> None:
    assert "soften" not in photos.with_step(corruption(name)).with_step(Frame(FixedFit())).report()


QUICK = [one.name for one in all_operations() if one.family not in ("datamosh", "compression", "databending")]
TEXTS = [one.name for one in all_operations("captions")]
LATER = [one.name for subject in ("sizes", "latents", "conditioning") for one in all_operations(subject)]


def damages(names: list[str]) -> st.SearchStrategy[Any]:
    return st.builds(
        corruption,
        st.sampled_from(names),
        severity=st.sampled_from([1.0, 0.5, 0.0]),
        severity_jitter=st.sampled_from([0.0, 0.6]),
        fraction=st.sampled_from([1.0, 0.5]),
        damage=st.sampled_from(["frozen", "new for each variant"]),
        seed=st.integers(0, 2),
    )


def steps() -> st.SearchStrategy[Any]:
    frame = Frame(FixedFit(width=64, height=64), crop="random", horizontal_flip="random")
    texts, words = damages(TEXTS), st.sampled_from([TriggerWord("prtkl"), TriggerWord("zq", "suffix"), frame])
    return texts | damages(QUICK) | texts | damages(LATER) | words


def arrangements() -> st.SearchStrategy[Callable[[Dataset], Dataset]]:
    adding = st.builds(lambda step: lambda dataset: dataset.with_step(step), steps())
    copying = st.builds(
        lambda step, clean: lambda dataset: with_copies(dataset, step, 2 - clean, clean), damages(QUICK), st.booleans()
    )
    mixing = st.builds(lambda step: lambda dataset: merged([dataset, dataset.with_step(step)]), steps())
    cutting = st.just(lambda dataset: parted(dataset, range(0, len(dataset), 2))[0])
    return adding | adding | adding | copying | mixing | cutting


@given(arranged=st.lists(arrangements(), min_size=1, max_size=5), variant=st.integers(0, 2))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_known_without_pictures_is_what_becomes_of_them(
    photos: Dataset, arranged: list[Callable[[Dataset], Dataset]], variant: int
) -> None:
    dataset = photos
    for arrange in arranged:
        dataset = arrange(dataset) if len(dataset) <= 12 else dataset
    for index in range(len(dataset)):
        sample, marked = dataset.sample(index, variant), dataset.marked(index, variant)
        assert (sample.caption, sample.triggers, sample.damage) == (marked.caption, marked.triggers, marked.damage)
        assert sample.caption == dataset.caption(index, variant) and sample.key == marked.key
        assert sample.image.size == dataset.framed_size(index, variant)
        if not dataset.varies:
            assert sample.image.tobytes() == dataset.sample(index).image.tobytes()
    again = dataclasses.replace(dataset)
    assert again.fingerprint == dataset.fingerprint != dataset.with_step(TriggerWord("x")).fingerprint


def test_a_second_step_of_one_kind_and_seed_shuffles_the_whole_dataset_in_another_way(tmp_path: Path) -> None:
    for number in range(12):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number:02}.png")
        (tmp_path / f"{number:02}.txt").write_text(f"caption {number}")
    once = load_folder(tmp_path).with_step(corruption("false_captions"))
    twice = once.with_step(corruption("false_captions"))
    first = {f"caption {index}": once.caption(index) for index in range(12)}
    second = {once.caption(index): twice.caption(index) for index in range(12)}
    assert sorted(first.values()) == sorted(second.values()) == sorted(first)
    assert first != second
