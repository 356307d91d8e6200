"""What marks do. Oracles: Pillow's own text drawing, counted pixels, and the stream that all items share."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image, ImageDraw, ImageFont

KINDS = ("text", "stripes", "window", "watermark")


def damaged(image: Image.Image, severity: float = 1.0, seed: int = 3, context=None, **values) -> Image.Image:
    return find_operation("overlay").apply(image, generator(seed), severity, context, **values)


def marked(first: Image.Image, second: Image.Image) -> np.ndarray:
    return (np.asarray(first) != np.asarray(second)).any(axis=-1)


def test_the_text_can_be_read() -> None:
    """The marked pixels are those of Pillow's letters, somewhere."""
    grey = Image.new("RGB", (256, 128), (128, 128, 128))
    found = marked(grey, damaged(grey, text="GLITCH", size=0.5))
    rows, columns = (np.flatnonzero(found.any(axis=axis)) for axis in (1, 0))
    width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
    assert abs(width - 128) <= 6

    font = ImageFont.load_default(height * 1.2)
    letters = Image.new("L", (512, 256))
    ImageDraw.Draw(letters).text((40, 40), "GLITCH", 255, font, stroke_width=round(font.size / 16))
    expected = np.asarray(letters.crop(letters.getbbox()).resize((width, height))) > 127
    cut = found[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (cut == expected).mean() > 0.85


@pytest.mark.parametrize("text", ["", "\n\n", "a" * 5000, "I", "日本語 \U0001f600", "\0\ud800"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_text_can_be_written(kind: str, text: str) -> None:
    for size in ((1, 1), (3, 200), (64, 40)):
        assert damaged(Image.new("RGB", size), kind=kind, text=text, copies=2).size == size


@pytest.mark.parametrize("kind", ["text", "window", "watermark"])
def test_a_text_is_cut_after_two_hundred_characters(kind: str) -> None:
    grey = Image.new("RGB", (512, 128), (128, 128, 128))
    long = "".join(chr(65 + place % 26) + "\n" * (place % 20 == 19) for place in range(300))
    whole, cut, shorter = (damaged(grey, kind=kind, text=long[:count]) for count in (300, 200, 150))
    assert whole.tobytes() == cut.tobytes() != shorter.tobytes()


def test_the_font_has_the_letters_of_an_english_keyboard_and_no_others() -> None:
    font = ImageFont.load_default(32)
    box = bytes(font.getmask("\ue000"))
    assert all(bytes(font.getmask(chr(letter))) != box for letter in range(0x20, 0x7F))
    assert all(bytes(font.getmask(letter)) == box for letter in "éüßñЖ日")


@pytest.mark.parametrize("kind", KINDS)
def test_fixed_marks_lie_in_the_same_place_in_all_pictures(kind: str) -> None:
    grey = Image.new("RGB", (128, 128), (128, 128, 128))
    context = Context(shared=lambda: generator(7, "shared"))
    fixed = {damaged(grey, seed=seed, context=context, kind=kind, place="fixed").tobytes() for seed in range(4)}
    drawn = {damaged(grey, seed=seed, context=context, kind=kind).tobytes() for seed in range(4)}
    assert len(fixed) == 1 and len(drawn) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_severity_is_opacity(kind: str) -> None:
    image = photograph("coffee").resize((128, 128))
    before = np.asarray(image, float)
    half, whole = (np.asarray(damaged(image, part, kind=kind, opacity=1.0), float) - before for part in (0.5, 1.0))
    assert np.abs(whole).max() > 50
    assert np.abs(whole / 2 - half).max() <= 2


def test_more_copies_cover_more_and_stripes_a_third() -> None:
    grey = Image.new("RGB", (256, 256), (128, 128, 128))
    covered = [marked(grey, damaged(grey, kind="window", size=0.2, copies=copies)).mean() for copies in (1, 4, 16)]
    assert covered == sorted(covered) and covered[2] > 3 * covered[0]
    stripes = [marked(grey, damaged(grey, kind="stripes", size=0.2, seed=seed)).mean() for seed in range(5)]
    assert np.abs(np.array(stripes) - 1 / 3).max() < 0.06


def test_a_window_is_a_panel_with_a_title_bar() -> None:
    found = np.asarray(damaged(Image.new("RGB", (400, 300)), kind="window", size=0.5, opacity=1.0, text=""))
    panel = (found == (0xC0, 0xC0, 0xC0)).all(axis=-1)
    bar = (found == (0, 0, 0x80)).all(axis=-1)
    assert panel.sum() == pytest.approx(200 * 90 * 0.85, rel=0.15)
    assert np.flatnonzero(bar.any(axis=1)).max() < np.flatnonzero(panel.any(axis=1)).max()
    assert bar.any(axis=0).sum() == pytest.approx(200, abs=8)
