"""Damaged JPEG files. Oracles: Pillow's reading of the files, the JPEG standard's markers, formulas on pixels."""

import io

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.pictures.growing_bands import in_growing_bands, spread_places
from glitch_lora.glitch.pictures.jpeg_file import decoded, encoded, entropy_coded, frame_header, segments
from glitch_lora.glitch.pictures.jpeg_lies import LIES
from glitch_lora.glitch.registry import find_operation
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image


def apply(name: str, image: Image.Image, severity: float = 1.0, seed: int = 0, **values) -> np.ndarray:
    return np.asarray(find_operation(name).apply(image, generator(seed), severity, **values), float)


def saved(image: Image.Image, **settings_) -> np.ndarray:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **settings_)
    return np.asarray(Image.open(buffer).convert("RGB"), float)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("rows", [0, 1])
def test_what_may_be_overwritten_is_only_data_between_markers(progressive: bool, rows: int) -> None:
    data = encoded(photograph("chelsea"), 80, "4:2:0", progressive=progressive, restart_marker_rows=rows)
    places = entropy_coded(data)
    octets = np.frombuffer(data, np.uint8)
    assert (octets[places] != 0xFF).all() and (octets[places - 1] != 0xFF).all()
    assert sum(marker == 0xDA for marker, _, _ in segments(data)) == (10 if progressive else 1)
    assert not {*places} & {place for _, start, end in segments(data) for place in range(start - 4, end)}
    assert len(places) > 0.95 * len(data) - 2000


def test_the_frame_header_says_the_size() -> None:
    image = photograph("chelsea")
    data = encoded(image, 80, "4:4:4")
    start = frame_header(data)
    height, width = (int.from_bytes(data[start + at : start + at + 2], "big") for at in (1, 3))
    assert (width, height) == image.size


@given(seed=st.integers(0, 2**40), size=st.tuples(st.integers(1, 60), st.integers(1, 60)), order=st.booleans())
@settings(max_examples=60, deadline=None)
def test_every_damaged_file_can_be_read(seed: int, size, order: bool) -> None:
    rng = generator(seed)
    image = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
    octets = np.frombuffer(encoded(image, 70, "4:2:0", progressive=order), np.uint8).copy()
    places = rng.choice(entropy_coded(octets.tobytes()), 20)
    octets[places] = rng.integers(0, 0xFF, 20, np.uint8)
    damaged = decoded(octets.tobytes())
    assert damaged is not None and damaged.size == image.size


def test_restart_markers_keep_an_error_within_a_row_of_blocks() -> None:
    image = photograph("astronaut")
    plain = saved(image, quality=80, subsampling="4:2:0")

    def harmed(seed: int, **values) -> float:
        found = apply("jpeg_bitstream", image, seed=seed, errors=1, quality=80, **values)
        return (found != plain).any(axis=(1, 2)).mean()

    assert max(harmed(seed, restart_marker_rows=1) for seed in range(8)) <= 18 / 512  # 16, and smoothed colour
    assert np.mean([harmed(seed, restart_marker_rows=0) for seed in range(8)]) > 0.25


def test_nothing_before_the_region_is_harmed() -> None:
    image = photograph("astronaut")
    found = apply("jpeg_bitstream", image, errors=5, region_start=0.7, quality=80)
    harmed = (found != saved(image, quality=80, subsampling="4:2:0")).any(axis=(1, 2))
    assert not harmed[:256].any() and harmed[300:].any()


def test_bending_by_1_is_plain_jpeg() -> None:
    image = photograph("coffee")
    found = apply("quantization_bend", image, factor=1.0, quality=70)
    assert (found == saved(image, quality=70, subsampling="4:4:4")).all()


def test_bending_changes_only_the_drawn_waves() -> None:
    """Each 8x8 block of the difference has power in the chosen number of DCT coefficients and nowhere else."""
    from scipy.fft import dctn

    image = photograph("camera").crop((100, 100, 228, 228)).point(lambda value: 96 + value // 4)  # nothing clips
    plain, bent = (np.asarray(_bent(image, factor)) for factor in (1.0, 3.0))
    blocks = (bent - plain).mean(2).reshape(16, 8, 16, 8).transpose(0, 2, 1, 3)
    power = np.square(dctn(blocks, axes=(2, 3), norm="ortho")).mean((0, 1)).ravel()
    power.sort()
    assert power[:-5].sum() < 0.02 * power.sum() and power[-1] > 1


def _bent(image: Image.Image, factor: float) -> np.ndarray:
    return apply("quantization_bend", image, coefficients=5, tables="brightness", quality=90, factor=factor)


def test_a_swap_of_the_colours_is_the_swap_of_pillows_planes() -> None:
    image = photograph("coffee")
    luma, blue, red = image.convert("YCbCr").split()
    swapped = np.asarray(Image.merge("YCbCr", (luma, red, blue)).convert("RGB"), float)
    distances = [
        np.abs(apply("jpeg_header_lie", image, seed=seed, lie="component order", quality=95) - swapped).mean()
        for seed in range(30)
    ]
    assert min(distances) < 3 < max(distances)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("seed", range(6))
def test_every_lie_is_seen(lie: str, seed: int) -> None:
    for image in (photograph("chelsea"), photograph("astronaut").resize((64, 64))):
        found = apply("jpeg_header_lie", image, seed=seed, lie=lie)
        assert np.abs(found - np.asarray(image, float)).mean() > 10


def test_a_lie_without_effect_gives_way_to_another() -> None:
    grey_picture = Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).convert("RGB")
    for seed in range(12):
        found = apply("jpeg_header_lie", grey_picture, seed=seed, lie="component order")
        assert np.abs(found - np.asarray(grey_picture, float)).mean() > 10, seed


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_truncation_keeps_the_first_rows_and_greys_the_last(keep: float) -> None:
    image = photograph("astronaut")
    whole = saved(image, quality=90, subsampling="4:2:0")
    found = apply("truncated_file", image, keep=keep, spread=0.0)
    assert (found[:16] == whole[:16]).all()
    assert np.abs(found[-1, -16:] - 128).max() <= 1
    assert abs((found == whole).all(axis=(1, 2)).mean() - keep) < 0.25


def test_the_last_good_row_is_repeated() -> None:
    image = photograph("astronaut")
    found = apply("truncated_file", image, keep=0.5, spread=0.0, fill="last row")
    assert (found[-1] == found[-60]).all() and (found[-1] != found[0]).any()
    black = apply("truncated_file", image, keep=0.5, spread=0.0, fill="black")
    assert black[-60:].max() == 0 and black[:100].max() > 0


def shown_rows(height: int, part: float, seed: int = 0) -> np.ndarray:
    black, white = Image.new("RGB", (3, height)), Image.new("RGB", (3, height), "white")
    found = np.asarray(in_growing_bands(generator(seed), black, white, part))[:, 0, 0]
    assert np.asarray(black).max() == 0
    return found > 0


@given(
    height=st.integers(1, 300), seed=st.integers(0, 2**40), parts=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1))
)
@settings(max_examples=60, deadline=None)
def test_damage_grows_and_is_the_part_asked_for(height: int, seed: int, parts: tuple[float, float]) -> None:
    less, more = (shown_rows(height, part, seed) for part in sorted(parts))
    assert not (less & ~more).any()
    assert more.sum() == max(1, round(max(parts) * height))
    assert shown_rows(height, 1.0, seed).all()


def test_damage_lies_in_a_few_bands_elsewhere_in_each_picture() -> None:
    drawn = np.array([shown_rows(256, 0.5, seed) for seed in range(60)])
    starts = (np.diff(drawn.astype(int), axis=1, prepend=0) == 1).sum(axis=1)
    assert starts.max() <= 5 and starts.mean() > 1.5
    assert 0.25 < drawn.mean(axis=0).min() and drawn.mean(axis=0).max() < 0.75  # no row is usually clean, or damaged


def test_rows_without_damage_do_not_count() -> None:
    image = Image.new("RGB", (4, 100))
    damaged = image.copy()
    damaged.paste("white", (0, 90, 4, 100))
    assert np.asarray(in_growing_bands(generator(0), image, damaged, 0.1)).max() == 255
    untouched = in_growing_bands(generator(0), image, image, 1.0)
    assert untouched is not image and untouched.tobytes() == image.tobytes()


@pytest.mark.parametrize("name", ["png_filter", "byte_bend", "jpeg_bitstream", "jpeg_header_lie", "raw_misread"])
def test_half_the_damage_is_not_the_lower_half(name: str) -> None:
    image = photograph("chelsea").resize((128, 128))
    harmed = [(apply(name, image, 0.5, seed) != np.asarray(image)).any(axis=(1, 2)) for seed in range(4)]
    assert len({rows.tobytes() for rows in harmed}) == 4
    assert all(rows[: image.height // 2].any() for rows in harmed)


@pytest.mark.parametrize("count", [1, 7, 256])
def test_places_are_spread(count: int) -> None:
    places = spread_places(generator(3), count)
    assert (np.floor(places * count) == np.arange(count)).all()
