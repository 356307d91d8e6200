"""Datamoshing with real MPEG-4. Oracles: FFmpeg's decoder through PyAV, scikit-image's registration and noise ratio."""

import sys

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.pictures.motion_clip import MOTIONS, frames, velocities
from glitch_lora.glitch.pictures.mpeg4 import encoded, last_frame, planes_of
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from skimage.registration import phase_cross_correlation

NAMES = ("datamosh_melt", "datamosh_bloom")


def apply(name: str, image: Image.Image, severity: float = 1.0, seed: int = 1, **values) -> Image.Image:
    return find_operation(name).apply(image, generator(seed), severity, **values)


def shift(before: Image.Image, after: Image.Image) -> np.ndarray:
    """Return by how much the content of a picture moved, (x, y) in px."""
    found, *_ = phase_cross_correlation(np.asarray(after.convert("L")), np.asarray(before.convert("L")))
    return found[::-1]


def film(image: Image.Image, count: int, motion: str = "waves") -> list[list[Image.Image]]:
    return list(frames(planes_of(image), velocities(motion, generator(0)), 0.01, count))


def test_a_film_is_one_whole_picture_and_changes() -> None:
    packets = encoded(film(photograph("chelsea"), 6), 4)
    assert [packet.is_keyframe for packet in packets] == [True] + [False] * 5


@pytest.mark.parametrize("size", [(1, 1), (15, 33), (250, 130)])
def test_an_honest_film_is_decoded_as_it_was_filmed(size) -> None:
    image = photograph("coffee").resize(size)
    shown = last_frame(encoded([planes_of(image)] * 3, 1), size)
    assert shown.size == size
    assert peak_signal_noise_ratio(np.asarray(image), np.asarray(shown)) > 24  # colours are halved and coarse


def test_a_coarser_film_is_shorter() -> None:
    lengths = [sum(packet.size for packet in encoded(film(photograph("coffee"), 3), q)) for q in (1, 2, 8, 31)]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 5 * lengths[-1]


@pytest.mark.parametrize("motion", ["mixed", *MOTIONS])
def test_motions_are_equally_strong(motion: str) -> None:
    field = velocities(motion, generator(3))
    assert np.isclose(np.sqrt(np.square(field).sum(-1).mean()), 1)


def test_a_pan_moves_the_picture_evenly() -> None:
    image = photograph("astronaut")
    field = velocities("pan", generator(0))
    first, second = (planes[0] for planes in list(frames(planes_of(image), field, 0.02, 4))[::3])
    assert np.abs(shift(first, second) + 0.06 * 512 * field[0, 0]).max() <= 1


def test_the_melting_picture_follows_the_motion_of_the_other_one() -> None:
    """The other picture's film pans; this one never moved, and yet it is found as far away."""
    image, other = photograph("astronaut"), photograph("gravel").resize((512, 512))
    context = Context([image, other], 0)
    melted = apply("datamosh_melt", image, context=context, motion="pan", speed=0.01, length=6, coarseness=31)
    moved = shift(image, melted)
    assert abs(np.hypot(*moved) - 0.06 * 512) < 4


def test_the_other_picture_is_one_of_the_dataset() -> None:
    images = [photograph(name).resize((128, 128)) for name in ("astronaut", "coffee", "rocket")]
    alone = apply("datamosh_melt", images[0])
    found = {apply("datamosh_melt", images[0], seed=1, context=Context(images[:n], 0)).tobytes() for n in (2, 3)}
    assert alone.tobytes() not in found


def test_others_of_any_size_and_mode_will_do() -> None:
    context = Context([Image.new("RGB", (3, 3)), Image.new("LA", (1, 500)), Image.new("P", (90, 2))], 0)
    for seed in range(4):
        assert apply("datamosh_melt", photograph("rocket").resize((50, 31)), seed=seed, context=context).size == (
            50,
            31,
        )


def test_repeated_changes_carry_the_picture_further() -> None:
    image = photograph("astronaut")
    once, often = (
        np.hypot(*shift(image, apply("datamosh_bloom", image, length=1, repeats=n, motion="pan", coarseness=31)))
        for n in (2, 6)
    )
    assert abs(often - 3 * once) < 4 and once > 5


@pytest.mark.parametrize("name", NAMES)
def test_more_severity_plays_more_of_the_same(name: str) -> None:
    image = photograph("chelsea").resize((160, 128))
    plays = {apply(name, image, severity, length=2, **_repeats(name)).tobytes() for severity in (0.1, 0.3, 0.5)}
    assert len(plays) == (1 if name == "datamosh_melt" else 2)


def _repeats(name: str) -> dict:
    return {"repeats": 2} if name == "datamosh_bloom" else {}


@pytest.mark.parametrize("name", NAMES)
def test_without_pyav_the_lack_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(RuntimeError, match="mpeg4: got no codec .* needed PyAV with MPEG-4, install av"):
        apply(name, photograph("coffee").resize((64, 64)))
