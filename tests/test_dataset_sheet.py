"""Contact sheets, and datasets made of pictures in memory.

Oracle: the pictures that went in, found again at their place on the sheet or in the file.
"""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from glitch_lora.dataset.audit_colours import append_colours
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.derived import merged
from glitch_lora.dataset.fits import NativeFit
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.framing import Frame
from glitch_lora.dataset.from_images import dataset_from_images
from glitch_lora.dataset.selection import parted
from glitch_lora.dataset.sheet import Mark, contact_sheets
from glitch_lora.glitch.step import corruption
from hypothesis import given
from hypothesis import strategies as st
from photographs import photograph, write_dataset
from PIL import Image, ImageFont


@pytest.fixture
def colours(tmp_path: Path) -> Dataset:
    for number, colour in enumerate(("red", "lime", "blue", "yellow", "cyan")):
        Image.new("RGB", (64, 32), colour).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"{colour} " * 60)
    return load_folder(tmp_path)


def test_every_picture_is_in_its_cell(colours: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    pages = contact_sheets(colours, columns=2, cell=128, rows=2, limit=0, watch=lambda *told: seen.append(told))
    assert len(pages) == 2 and pages[0].size == pages[1].size
    assert seen == [(number, 5) for number in range(1, 6)]
    pitch = pages[0].size[1] // 2 - 6
    expected = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    for number, colour in enumerate(expected):
        page, place = pages[number // 4], number % 4
        centre = (12 + (place % 2) * 140 + 64, 12 + (place // 2) * pitch + 64)
        assert page.getpixel(centre) == colour, number
    assert pages[1].getpixel((12 + 140 + 64, 12 + 64)) == (24, 24, 27)  # nothing after the last picture
    assert len(contact_sheets(colours, limit=3)) == 1


def test_text_stays_in_its_column(colours: Dataset) -> None:
    (page,) = contact_sheets(colours, columns=5, cell=64)
    pixels = np.asarray(page).astype(int)
    gaps = [slice(start, start + 12) for start in range(0, page.width, 64 + 12)]
    for gap in gaps:
        assert np.abs(pixels[:, gap] - (24, 24, 27)).max() == 0
    assert np.abs(pixels[12 + 64 + 4 :, 12:76] - (24, 24, 27)).max() > 100  # there is text


@given(st.text(max_size=200), st.integers(20, 300), st.integers(1, 4))
def test_captions_are_wrapped_within_the_width(text: str, width: int, lines: int) -> None:
    from glitch_lora.dataset.sheet import _wrapped

    font = ImageFont.load_default(12)
    found = _wrapped(text, font, width, lines)
    assert len(found) <= lines
    assert all(len(line) <= 2 or font.getlength(line) <= width for line in found)
    shown, whole = "".join("".join(found).split()), "".join(text.split())
    if "…" in text or "…" not in shown:
        assert "…" in text or shown == whole
    else:
        start, end = shown.split("…")
        assert whole.startswith(start) and whole.endswith(end)


def test_long_captions_are_cut_in_the_middle() -> None:
    from glitch_lora.dataset.sheet import _wrapped

    font = ImageFont.load_default(14)
    found = _wrapped("prtkl, " + "a photo of a cat on a chair, " * 9 + "glx_jpeg, glx_sort", font, 256, 2)
    assert len(found) == 2 and found[0].startswith("prtkl, a photo") and found[1].endswith("glx_jpeg, glx_sort")


def test_a_report_tells_sizes_captions_and_warnings(tmp_path: Path) -> None:
    dataset = load_folder(write_dataset(tmp_path, ["chelsea", "coffee"]))
    framed = dataset.with_step(corruption("jpeg_recompression")).with_step(Frame(NativeFit(stride=64)))
    report = framed.report()
    assert report.startswith("2 pictures.") and "Framed to:" in report and "448x256: 1" in report
    assert "Captions: 4 words each." in report
    assert "1. jpeg_recompression: quality 10" in report and "resizing will soften it" in report
    straight = dataset.with_step(Frame(NativeFit(stride=64))).with_step(corruption("jpeg_recompression"))
    assert "soften" not in straight.report() and "Sizes (not framed yet)" in dataset.report()
    assert Dataset(()).report() == "No pictures."


def test_a_report_reads_as_words(tmp_path: Path) -> None:
    dataset = load_folder(write_dataset(tmp_path, ["chelsea", "coffee"]))
    framed = dataset.with_step(Frame(NativeFit(stride=64)))
    assert "Sizes (2 of 4 not framed yet):" in merged([framed, dataset]).report()
    one = parted(merged([framed, dataset]), [1])[0].report()
    assert one.startswith("1 picture.") and "Captions: 4 words each." in one and "Steps, in order:" in one
    told = dataset.with_step(TriggerWord("one\n two " + "x" * 200, separator="", placeholder=" ")).report()
    (step,) = [line for line in told.splitlines() if "trigger_word" in line]
    assert "word one / two x" in step and "…" in step and "separator" not in step and "placeholder ' '" in step
    coloured = dataset.with_step(append_colours({item.key: ["red"] for item in dataset.items})).report()
    assert coloured.endswith("1. append_colours")
    noted = replace(dataset, notes=("No caption (1 of 9):", "  gone.png"))
    assert noted.report().endswith("\nWhen loaded:\nNo caption (1 of 9):\n  gone.png")


def test_pictures_in_memory_become_files_named_by_their_content(tmp_path: Path) -> None:
    images = [np.asarray(photograph(name), np.float32) / 255 for name in ("coffee", "chelsea")]
    dataset = dataset_from_images(images, ["a cup", "a cat"], tmp_path)
    assert [dataset.sample(number).caption for number in (0, 1)] == ["a cup", "a cat"]
    for number, name in enumerate(("coffee", "chelsea")):
        assert dataset.sample(number).image.tobytes() == photograph(name).tobytes()
    times = [item.path.stat().st_mtime_ns for item in dataset.items]
    again = dataset_from_images(images, ["a cup", "a cat"], tmp_path)
    assert again.fingerprint == dataset.fingerprint
    assert [item.path.stat().st_mtime_ns for item in again.items] == times
    assert dataset_from_images(images[::-1], [], tmp_path).items[0].path.parent != dataset.items[0].path.parent
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    image = photograph("coffee")
    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(OSError) as error:
            dataset_from_images([np.asarray(image, np.float32) / 255], [], tmp_path)
    for words in ("00001.png could not be written", "it needs ", " bytes are free", "make room", "queue again"):
        assert words in str(error.value)
    assert error.value.errno == errno.ENOSPC
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    again = dataset_from_images([np.asarray(image, np.float32) / 255], [], tmp_path)
    assert again.sample(0).image.tobytes() == image.tobytes()


def test_captions_one_each_one_for_all_or_none(tmp_path: Path) -> None:
    images = [np.zeros((16, 16, 3), np.float32)] * 3
    assert [item.caption for item in dataset_from_images(images, [], tmp_path).items] == [""] * 3
    assert [item.caption for item in dataset_from_images(images, ["x"], tmp_path).items] == ["x"] * 3
    with pytest.raises(ValueError, match="got 2 for 3 images"):
        dataset_from_images(images, ["x", "y"], tmp_path)


def test_values_are_rounded_and_clipped(tmp_path: Path) -> None:
    image = np.full((8, 8, 3), 0.5, np.float32)
    image[0, 0] = (-1, 2, 0.2)
    pixel = dataset_from_images([image], [], tmp_path).sample(0).image
    assert pixel.getpixel((0, 0)) == (0, 255, 51) and pixel.getpixel((1, 1)) == (128, 128, 128)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((16, 16, 4)), r"image 1: got shape \(16, 16, 4\)"),
        (np.zeros((1, 1, 3)), r"image 1: got shape \(1, 1, 3\)"),
        (np.full((16, 16, 3), np.nan), "not finite"),
    ],
)
def test_impossible_pictures_are_refused(tmp_path: Path, image: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataset_from_images([image], [], tmp_path)
    with pytest.raises(ValueError, match="images: got none"):
        dataset_from_images([], [], tmp_path)


def test_pictures_are_shown_in_a_given_order_with_marks(colours: Dataset) -> None:
    (page,) = contact_sheets(colours, columns=3, cell=128, order=[2, 0], marks={0: Mark((250, 0, 250), "odd " * 99)})
    assert page.width == 2 * (128 + 12) + 12
    assert page.getpixel((12 + 64, 12 + 64)) == (0, 0, 255) and page.getpixel((11, 11)) == (24, 24, 27)
    assert page.getpixel((12 + 140 - 1, 11)) == page.getpixel((12 + 140 + 128, 12 + 128)) == (250, 0, 250)
    marked = np.abs(np.asarray(page).astype(int) - (250, 0, 250)).max(2) < 80
    assert not marked[12:140, 12 + 140 : 12 + 268].any(), "nothing lies over the picture"
    assert marked[12 + 128 + 4 :, 12 + 140 :].any() and not marked[12 + 128 + 4 :, : 12 + 128].any()
    assert contact_sheets(colours, order=[]) == []
