"""Corruptions of pictures: what holds for every one, and what those by JPEG do.

Oracles: Pillow's JPEG encoder called directly, and measured loss on real photographs. What each of the others does
stands in the file of its module, how its damage grows in test_detectors.
"""

import builtins
import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from glitch_lora.dataset.sample import Sample
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import all_operations, find_operation
from glitch_lora.glitch.step import corruption
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image

NAMES = [operation.name for operation in all_operations()]
DRAWING = [operation.name for operation in all_operations() if operation.draws]
SLOW = {"generations": 4, "frames": 6, "passes": 4, "iterations": 4}  # repeats cost time and find nothing more
SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    return Image.fromarray(generator(seed, "noise").integers(0, 256, (size[1], size[0], 3), np.uint8))


def parameters(name: str) -> st.SearchStrategy:
    """Draw allowed values for every parameter of an operation."""

    def one(parameter):
        if parameter.choices:
            return st.sampled_from(parameter.choices)
        if isinstance(parameter.default, bool):
            return st.booleans()
        if isinstance(parameter.default, str):
            return st.sampled_from([parameter.default, "", "Glitch\nLoRA"])
        if isinstance(parameter.default, float):
            return st.floats(parameter.minimum, parameter.maximum)
        return st.integers(int(parameter.minimum), min(int(parameter.maximum), SLOW.get(parameter.name, 10**9)))

    return st.fixed_dictionaries({parameter.name: one(parameter) for parameter in find_operation(name).parameters})


def one_changed(name: str) -> Iterator[dict]:
    """Yield the defaults, then each setting alone at its other values or its ends."""
    yield {}
    for parameter in find_operation(name).parameters:
        ends = (True, False) if isinstance(parameter.default, bool) else (parameter.maximum, parameter.minimum)
        for value in parameter.choices or ends if not isinstance(parameter.default, str) or parameter.choices else ():
            yield {parameter.name: type(parameter.default)(value)}


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), size=SIZES, severity=st.floats(0.01, 1), seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_same_size_deterministic_and_the_input_unchanged(name: str, data, size, severity: float, seed: int) -> None:
    operation, values, image = find_operation(name), data.draw(parameters(name)), noise(size, seed)
    before = image.tobytes()
    once = operation.apply(image, generator(seed), severity, **values)
    again = operation.apply(image, generator(seed), severity, **values)
    assert once.size == image.size and once.mode == "RGB"
    assert once.tobytes() == again.tobytes()
    assert image.tobytes() == before and once is not image


@pytest.mark.parametrize("name", NAMES)
@given(size=SIZES, seed=st.integers(0, 2**40))
@settings(max_examples=20, deadline=None)
def test_severity_0_is_an_exact_copy(name: str, size, seed: int) -> None:
    image = noise(size, seed)
    copy = find_operation(name).apply(image, generator(seed), 0.0)
    assert copy.tobytes() == image.tobytes() and copy is not image


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_stays_grey_and_alpha_stays_as_it_is(name: str, mode: str) -> None:
    image = photograph("coffee").resize((40, 30)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    operation = find_operation(name)
    damaged = operation.apply(image, generator(1))
    assert damaged.mode == mode and damaged.size == image.size
    assert operation.apply(image, generator(1), 0.0).tobytes() == image.tobytes()
    if mode == "RGBA":
        assert damaged.getchannel("A").tobytes() == image.getchannel("A").tobytes()
        assert damaged.convert("RGB").tobytes() == operation.apply(image.convert("RGB"), generator(1)).tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_it_does_something_to_a_photograph(name: str) -> None:
    image = photograph("chelsea").resize((128, 128))
    assert find_operation(name).apply(image, generator(1)).tobytes() != image.tobytes()


@pytest.mark.parametrize("name", DRAWING)
def test_another_seed_is_another_damage(name: str) -> None:
    """At the defaults, or where a setting asks for chance: with any of its words, or each number at its end.

    Half the severity is tried as well: what is drawn may be only where the damage begins.
    """
    image = photograph("chelsea").resize((96, 96))
    others = [image, *(photograph(other).resize((96, 96)) for other in ("coffee", "rocket", "astronaut"))]

    def differs(severity: float, values: dict) -> bool:
        drawn = [
            find_operation(name).apply(image, generator(seed), severity, Context(others), **values) for seed in range(4)
        ]
        return len({picture.tobytes() for picture in drawn}) > 1

    assert any(differs(severity, values) for severity in (1.0, 0.5) for values in one_changed(name))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DRAWING])
def test_what_draws_nothing_is_the_same_for_every_seed(name: str) -> None:
    image = photograph("chelsea").resize((64, 64))
    assert len({find_operation(name).apply(image, generator(seed)).tobytes() for seed in range(3)}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_largest_and_the_thinnest(name: str) -> None:
    for size in ((4096, 4096), (4096, 1), (1, 4096), (1, 1)):
        image = photograph("coffee").resize(size)
        damaged = find_operation(name).apply(image, generator(1))
        assert damaged.size == size and damaged.mode == "RGB"


@pytest.mark.parametrize("name", ["jpeg_recompression", "generation_loss"])
@pytest.mark.parametrize("photo", ["chelsea", "astronaut", "coffee"])
def test_more_severity_is_more_damage_on_photographs(name: str, photo: str) -> None:
    image = photograph(photo)
    losses = [
        psnr(image, find_operation(name).apply(image, generator(1), severity)) for severity in (0.05, 0.25, 0.5, 1)
    ]
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1] + 3


@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_is_complete(name: str) -> None:
    operation = find_operation(name)
    assert operation.name == operation.function.__name__
    assert operation.summary.endswith(".") and operation.family
    for parameter in operation.parameters:
        assert parameter.help and not parameter.help.endswith(".")
        assert parameter.checked(parameter.default) == parameter.default
    json.dumps(corruption(name).describe())


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="operation: got 'meteor', allowed"):
        find_operation("meteor")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"quality": 0}, "quality: got 0, allowed 1 to 95"),
        ({"quality": 20.5}, "quality: got 20.5"),
        ({"quality": True}, "quality: got True"),
        ({"subsampling": "4:1:1"}, "subsampling: got '4:1:1'"),
        ({"colour": 3}, "unknown settings"),
    ],
)
def test_impossible_parameters_are_refused(values, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        corruption("jpeg_recompression", values)


@pytest.mark.parametrize("settings_", [{"severity": 1.5}, {"fraction": -0.1}, {"damage": "melted"}])
def test_impossible_steps_are_refused(settings_) -> None:
    with pytest.raises(ValueError, match=next(iter(settings_))):
        corruption("jpeg_recompression", **settings_)


def test_a_picture_of_another_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="mode CMYK, allowed L, RGB or RGBA"):
        find_operation("jpeg_recompression").apply(Image.new("CMYK", (9, 9)), generator(0))


@pytest.mark.parametrize("quality", [1, 20, 95])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_recompression_is_pillows(quality: int, subsampling: str) -> None:
    image = photograph("coffee")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    found = find_operation("jpeg_recompression").apply(image, generator(0), quality=quality, subsampling=subsampling)
    assert found.tobytes() == Image.open(buffer).convert("RGB").tobytes()


def test_generation_loss_adds_up_only_when_something_moves() -> None:
    """On one fixed grid the loss stops after the first generation; with a moving grid it goes on."""
    image = photograph("chelsea")
    loss = find_operation("generation_loss")

    def after(generations: int, **values) -> float:
        return psnr(image, loss.apply(image, generator(3), generations=generations, **values))

    still = {"grid_shift": 0, "rescale": 1.0, "quality_jitter": 0}
    assert after(1, **still) - after(30, **still) < 1.0
    for moved in ({"grid_shift": 7}, {"rescale": 0.9}, {"quality_jitter": 25}):
        assert after(1, **(still | moved)) - after(30, **(still | moved)) > 2.0, moved


def test_generation_loss_keeps_content_in_place() -> None:
    """The grid moves, the picture does not: an edge stays where it was."""
    image = Image.new("RGB", (64, 64), "black")
    image.paste("white", (32, 0, 64, 64))
    damaged = find_operation("generation_loss").apply(image, generator(0), generations=20, quality=50, grid_shift=7)
    row = np.asarray(damaged.convert("L"), float).mean(0)
    assert int(np.argmax(np.diff(row))) == 31


def test_items_and_variants_get_their_own_damage() -> None:
    image, step = photograph("coffee").resize((64, 64)), corruption("generation_loss")
    first, second = (step.apply(_sample(image), generator(0, key)).image.tobytes() for key in "ab")
    assert first != second
    assert not step.varies and dataclasses.replace(step, damage="new for each variant").varies
    still = corruption("jpeg_recompression", damage="new for each variant")
    assert not still.varies and dataclasses.replace(still, fraction=0.5).varies


def test_the_fraction_of_pictures_is_damaged() -> None:
    image, step = noise((16, 16), 0), corruption("jpeg_recompression", fraction=0.3)
    damaged = sum(
        step.apply(_sample(image), generator(0, key)).image.tobytes() != image.tobytes() for key in range(1000)
    )
    assert abs(damaged - 300) < 75  # five standard deviations


def test_the_description_names_the_codec() -> None:
    described = corruption("generation_loss", {"quality": 10}, seed=4).describe()
    assert described["codecs"]["libjpeg_turbo"] and described["codecs"]["pillow"]
    assert described["parameters"]["quality"] == 10 and described["seed"] == 4 and described["version"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_description_names_every_library_that_is_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = set(), builtins.__import__

    def spy(module: str, *more: Any, **named: Any) -> Any:
        asked.add(module.split(".")[0])
        return real(module, *more, **named)

    monkeypatch.setattr(builtins, "__import__", spy)
    for values in one_changed(name):
        image = noise((40, 40), 1)
        find_operation(name).apply(image, generator(1), 1.0, Context([image, image]), **values)
    assert asked & {"scipy", "av"} == {"scipy", "av"} & set(find_operation(name).codecs)


def test_random_state_is_left_alone(unchanged_random_state) -> None:
    for name in NAMES:
        find_operation(name).apply(noise((32, 32), 0), generator(0))


def _sample(image: Image.Image) -> Sample:
    return Sample(image, "", image.size)


def psnr(first: Image.Image, second: Image.Image) -> float:
    error = np.square(np.asarray(first, float) - np.asarray(second, float)).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
