"""The catalogue of metrics: what every metric promises, on every size and kind of picture."""

import time

import numpy as np
import pytest
from glitch_lora.metrics.registry import all_metrics, compare, find_metric, measure, to_array
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph

SINGLE, PAIRED, SETS = (all_metrics(kind) for kind in ("single", "paired", "set"))
# Those that operations say they are measured by.
NAMES = """laplacian_variance blur high_frequency spectral_slope spectral_anisotropy blockiness noise chroma_noise
row_banding column_banding misregistration tear_rate tear_rate_columns sorted_run line_index line_index_columns
contrast clipped entropy empty_bins colourfulness mean_lightness jpeg_bits palette flat_area mosaic border distance
ssim_loss gradient_loss colour_distance texture_distance hash_distance structure_loss""".split()


def some(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (height, width, 3), np.uint8)


def test_every_promised_metric_is_there():
    assert {one.name for one in all_metrics()} >= set(NAMES)


def test_every_metric_says_what_it_is():
    for one in all_metrics():
        assert one.title and one.summary.endswith((".", ":")), one.name
        assert one.function.__name__ == one.name


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (7, 5), (16, 16), (33, 31), (1, 4096), (4096, 2), (64, 64)])
def test_every_metric_is_finite_on_every_size_and_leaves_the_picture_alone(size):
    for picture in (some(*size), np.full((*size, 3), 255, np.uint8), np.zeros((*size, 3), np.uint8)):
        before, other = picture.copy(), some(*size, seed=1)
        results = measure(picture) | compare(picture, other)
        results |= {one.name: one.function([picture, other, picture]) for one in SETS}
        assert np.isfinite(list(results.values())).all(), results
        assert all(type(value) is float for value in results.values())
        assert np.array_equal(picture, before)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), colours=st.integers(1, 4), seed=st.integers(0, 99))
def test_every_metric_is_finite_on_pictures_of_few_colours(height, width, colours, seed):
    source = np.random.Generator(np.random.PCG64(seed))
    table = source.integers(0, 256, (colours, 3), np.uint8)
    picture = table[source.integers(0, colours, (height, width))]
    results = measure(picture) | compare(picture, picture[::-1])
    assert np.isfinite(list(results.values())).all(), results


@pytest.mark.slow
def test_large_pictures_are_measured():
    large = np.tile(to_array(photograph("chelsea").resize((512, 512))), (8, 8, 1))
    assert np.isfinite(list(measure(large).values())).all()


def test_equal_pictures_are_no_distance_apart():
    picture = to_array(photograph("coffee"))
    assert compare(picture, picture.copy()) == pytest.approx(dict.fromkeys([one.name for one in PAIRED], 0), abs=1e-5)


def test_a_measure_is_the_same_again_and_draws_nothing():
    picture, state = to_array(photograph("chelsea").resize((96, 96))), np.random.get_state()
    assert measure(picture) == measure(picture[:, ::-1][:, ::-1])
    assert np.array_equal(np.random.get_state()[1], state[1])


def test_only_named_metrics_are_measured():
    assert list(measure(some(20, 20), ["noise", "blur"])) == ["noise", "blur"]
    assert list(compare(some(20, 20), some(20, 20), ["distance"])) == ["distance"]


def test_what_is_wrong_is_named():
    picture = some(8, 8)
    with pytest.raises(ValueError, match=r"got 'sharpness', allowed \['background_spread'"):
        find_metric("sharpness")
    with pytest.raises(ValueError, match=r"got \['distance'\], allowed are single metrics"):
        measure(picture, ["distance"])
    with pytest.raises(ValueError, match=r"got float32 \[8, 8, 3\], allowed is uint8"):
        measure(picture.astype(np.float32))
    with pytest.raises(ValueError, match="got list, allowed is uint8"):
        compare(picture, [])
    with pytest.raises(ValueError, match="got 8x8 and 4x8, allowed is one size"):
        compare(picture, some(8, 4))


@pytest.mark.exclusive
def test_a_cell_of_a_sweep_is_measured_at_once():
    """0.3 s on one free core; the best of five, as other programs only ever slow it down."""
    picture, taken = to_array(photograph("astronaut")), []
    for _ in range(5):
        started = time.thread_time()
        measure(picture)
        taken.append(time.thread_time() - started)
    assert min(taken) < 0.3
