"""Training plots: what is drawn is where it should be, and odd input does not break them."""

import math
from typing import Any

import numpy as np
import pytest
from glitch_lora.training.plot import COLOURS, PlotSettings, moving_average, plot_metrics
from glitch_lora.training.plot_parts import rates_need_a_logarithm, split_parts, turning_points
from glitch_lora.training.ticks import scale_for
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

FINITE = st.floats(-1e12, 1e12)
POSITIVE = st.floats(1e-12, 1e12)


def metrics(values: list[Any], key: str = "loss") -> list[dict[str, Any]]:
    """Return metric lines with one quantity."""
    return [{"step": step, key: value} for step, value in enumerate(values, start=1)]


def ink(image: Image.Image, colour: str) -> np.ndarray:
    """Return which pixels are close to a colour."""
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return np.abs(np.asarray(image, dtype=int) - wanted).max(axis=-1) < 40


def test_moving_average_by_hand() -> None:
    """Oracle: the weighted mean it is defined as, written as a sum."""
    values, smoothing = [4.0, 1.0, 3.0, 8.0], 0.7
    for count, average in enumerate(moving_average(values, smoothing), start=1):
        weights = [smoothing ** (count - 1 - place) for place in range(count)]
        wanted = sum(w * v for w, v in zip(weights, values, strict=False)) / sum(weights)
        assert average == pytest.approx(wanted, rel=1e-12)
    assert moving_average([5.0] * 9, 0.99) == pytest.approx([5.0] * 9)
    assert moving_average(values, 0.0) == values


@settings(max_examples=200)
@given(values=st.lists(FINITE, min_size=1, max_size=30))
def test_linear_axes_hold_their_values(values: list[float]) -> None:
    """In order, inside, with round ticks in between."""
    scale = scale_for(values, False, 100.0, 20.0)
    places = [scale.place(value) for value in sorted(values)]
    assert places == sorted(places, reverse=True)
    assert all(20.0 <= place <= 100.0 for place in places)
    labels = [label for _, label in scale.ticks()]
    assert all(scale.low <= value <= scale.high for value, _ in scale.ticks()) or not labels
    assert len(labels) <= 14


@settings(max_examples=200)
@given(values=st.lists(POSITIVE, min_size=1, max_size=30))
def test_logarithmic_axes_hold_their_values(values: list[float]) -> None:
    """Equal ratios are equal distances."""
    scale = scale_for(values, True, 0.0, 500.0)
    assert all(-1e-6 <= scale.place(value) <= 500.0 + 1e-6 for value in values)
    if scale.high / scale.low > 16:
        low = scale.low
        first = scale.place(low * 4) - scale.place(low * 2)
        assert first == pytest.approx(scale.place(low * 2) - scale.place(low), abs=1e-6)
    assert all(value > 0 for value, _ in scale.ticks())


@pytest.mark.parametrize(
    ("values", "logarithmic", "labels"),
    [
        ([0.1, 0.52], False, ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ([1.0, 1000.0], True, ["1", "10", "100", "1000"]),
        ([1e-5, 1e-4], False, ["0", "2e-05", "4e-05", "6e-05", "8e-05", "0.0001"]),
    ],
)
def test_ticks_are_round_numbers(values: list[float], logarithmic: bool, labels: list[str]) -> None:
    """What a reader expects at the axis."""
    assert [label for _, label in scale_for(values, logarithmic, 0, 100).ticks()] == labels


def test_the_curve_goes_where_the_values_go() -> None:
    """A falling line of the first colour: high on the left, low on the right."""
    image = plot_metrics([("run", metrics([10.0 - number for number in range(10)]))], PlotSettings(smoothing=0.0))
    curve = ink(image, COLOURS[0])
    curve[:80] = False  # the legend
    columns = np.flatnonzero(curve.any(axis=0))
    first, last = columns[3], columns[-4]
    assert np.flatnonzero(curve[:, first]).mean() < image.height * 0.35
    assert np.flatnonzero(curve[:, last]).mean() > image.height * 0.7


def test_every_run_has_its_colour_and_name() -> None:
    """Two runs, two colours; a third without data is still named, and does not count as a problem."""
    runs = [("a", metrics([1.0, 2.0, 3.0])), ("b", metrics([3.0, 1.0, 2.0])), ("empty", [])]
    image = plot_metrics(runs)
    assert all(ink(image, colour).sum() > 50 for colour in COLOURS[:3])
    assert not ink(plot_metrics(runs[:1]), COLOURS[1]).any()


def test_panels_only_for_what_was_recorded() -> None:
    """The legend's colour appears below the middle only when there is a second panel."""
    alone = plot_metrics([("a", metrics([5.0, 5.0, 5.0, 1.0]))], PlotSettings(smoothing=0.0))
    lines = [{"step": step, "loss": 1.0, "learning_rate": 1e-4, "grad_norm": 0.5} for step in range(1, 9)]
    three = plot_metrics([("a", lines)], PlotSettings(smoothing=0.0))
    rows = [np.flatnonzero(ink(image, COLOURS[0])[90:].any(axis=1)) for image in (alone, three)]
    assert (np.diff(rows[0]) > 60).sum() == 0
    assert (np.diff(rows[1]) > 60).sum() == 2


def test_two_plots_with_a_fixed_axis_compare() -> None:
    """The same value is at the same height whatever else was recorded."""
    settings_ = PlotSettings(smoothing=0.0, loss_max=2.0)
    heights = []
    for last in (1.0, 1.9):
        curve = ink(plot_metrics([("a", metrics([1.0, 1.0, 1.0, 1.0, last]))], settings_), COLOURS[0])[80:]
        column = np.flatnonzero(curve.any(axis=0))[5]
        heights.append(np.flatnonzero(curve[:, column]).mean())
    assert heights[0] == pytest.approx(heights[1], abs=1.0)


def test_nothing_to_draw_is_an_error_that_names_the_run() -> None:
    """No lines, only nulls, only text, only zeros on a logarithmic axis."""
    for lines in ([], metrics([None, None]), metrics(["x"]), metrics([math.nan])):
        with pytest.raises(ValueError, match=r"run: got \['lost'\] without a recorded step"):
            plot_metrics([("lost", lines)])
    with pytest.raises(ValueError, match="lost"):
        plot_metrics([("lost", metrics([0.0, -1.0]))], PlotSettings(log_y=True))


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.none() | st.floats() | st.integers(-5, 5), min_size=1, max_size=8),
    log_x=st.booleans(),
    log_y=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.9, 0.999]),
    loss_max=st.sampled_from([0.0, 1e-6, 1.0, 1e9]),
)
def test_any_numbers_can_be_drawn(
    values: list[Any], log_x: bool, log_y: bool, smoothing: float, loss_max: float
) -> None:
    """Whatever a run wrote: a picture of the size asked for, or the error above."""
    settings_ = PlotSettings(300, 200, smoothing, log_x, log_y, loss_max)
    try:
        image = plot_metrics([("größe " * 20, metrics(values)), ("b", [])], settings_)
    except ValueError as error:
        assert "without a recorded step" in str(error)  # noqa: PT017
        return
    assert image.size == (300, 200)


def parts(steps: int, pivot: int, start: int = 0) -> list[dict[str, Any]]:
    """Return a run's lines: a LoRA from update `start` + 1 on, and a word that is frozen after `pivot`."""
    lines = []
    for step in range(1, steps + 1):
        told = {"embedding.prtkl": {"learning_rate": 2e-2, "grad_norm": 0.1}} if step <= pivot else {}
        told |= {"network": {"learning_rate": 1e-4, "grad_norm": 0.5}} if step > start else {}
        lines.append({"step": step, "loss": 1.0, "learning_rate": 1e-4, "grad_norm": 0.6, "parts": told})
    return lines


def test_a_word_has_a_curve_of_its_own_up_to_the_pivot() -> None:
    """The run's own colour is its loss and its LoRA; the second colour ends where the word does, at half the width."""
    image = plot_metrics([("diary", parts(40, 20))], PlotSettings(smoothing=0.0))
    word, lora = (ink(image, colour)[120:] for colour in COLOURS[:2][::-1])
    reach = [np.flatnonzero(curve.any(axis=0)) for curve in (word, lora)]
    assert reach[0].max() < 0.6 * image.width < 0.9 * image.width < reach[1].max()
    assert not ink(plot_metrics([("plain", metrics([1.0, 2.0]))]), COLOURS[1]).any()


def test_the_word_learns_above_the_lora_on_the_axis_of_rates() -> None:
    """200 times the rate: on a linear axis the LoRA's would lie on the bottom line; here neither touches an edge."""
    assert rates_need_a_logarithm([("diary", parts(8, 4))])
    assert not rates_need_a_logarithm([("plain", metrics([1.0, 2.0]))])
    curves = dict(split_parts("diary", parts(8, 4)))
    assert list(curves) == ["diary, LoRA", "word prtkl"]
    assert [line["learning_rate"] for line in curves["diary, LoRA"]] == [1e-4] * 8
    assert [line["grad_norm"] for line in curves["diary, LoRA"]] == [0.5] * 8
    assert [(line["step"], line["learning_rate"]) for line in curves["word prtkl"]] == [(s, 2e-2) for s in range(1, 5)]
    assert "loss" not in curves["word prtkl"][0]


def test_turning_points_are_told_only_where_the_training_goes_on() -> None:
    assert turning_points(parts(8, 4)) == {4: "word prtkl frozen"}
    assert turning_points(parts(8, 8)) == {}
    assert turning_points(parts(8, 6, start=2)) == {3: "LoRA joins", 6: "word prtkl frozen"}
    assert turning_points(parts(8, 4)[:3]) == {}, "a run before its pivot"
    assert turning_points(metrics([1.0, 2.0])) == turning_points([]) == {}


def test_the_pivot_is_a_dashed_line_through_every_panel() -> None:
    pictures = [plot_metrics([("diary", parts(40, pivot))], PlotSettings(smoothing=0.0)) for pivot in (20, 40)]
    with_line, without = (np.asarray(picture, dtype=int)[150:] for picture in pictures)
    columns = (np.abs(with_line - without).max(axis=-1) > 40).sum(axis=0)
    places = np.flatnonzero(columns > 150)
    assert len(places) and np.ptp(places) < 4, "one thin line"
    assert abs(places[0] - 625) < 60, "step 20 of 40 is in the middle of the axes"
