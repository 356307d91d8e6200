"""Every corruption of pictures against its own detector: caught, growing with severity, and told from the others."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import all_operations, find_operation
from glitch_lora.metrics.registry import find_metric, to_array
from photographs import photograph
from PIL import Image
from scipy.stats import spearmanr

NAMES = ("chelsea", "coffee")
SEVERITIES = tuple(round(0.1 * step, 1) for step in range(1, 11))
OPERATIONS = [operation.name for operation in all_operations("pictures")]

# Each detector's own damage, and what else it may answer to: damage that does have its marks.
OWN = {
    "blockiness": ("jpeg_recompression", {"block_displacement"}),
    "block_seams": ("block_displacement", {"jpeg_recompression", "pixelation", "sensor_banding", "region_dropout"}),
    "chroma_noise": ("vhs_tape", {"grain", "bit_crush", "tone_collapse"}),
    "dead_area": ("region_dropout", {"jpeg_recompression", "pixelation", "bit_crush", "tone_collapse", "line_dropout"}),
    "empty_bins": ("bit_crush", {"pixelation", "tone_collapse"}),
    "line_index": ("scan_lines", set()),
    "misregistration": ("channel_shift", set()),
    "mosaic": ("pixelation", set()),
    "noise": ("grain", {"vhs_tape", "tone_collapse"}),
    "row_banding": ("sensor_banding", {"scan_lines", "line_dropout"}),
    "sorted_run": ("pixel_sort", set()),
    "spectral_peak": ("spectral_peaks", {"motion_blur"}),
    "tear_rate": (
        "slice_displacement",
        {"block_displacement", "jpeg_recompression", "line_dropout", "pixel_sort", "pixelation"}
        | {"region_dropout", "scan_lines"},
    ),
}
OTHERS = sorted({own for own, _ in OWN.values()} | {"defocus", "tone_collapse", "swirl", "motion_blur", "line_dropout"})


@cache
def picture(name: str) -> Image.Image:
    image = photograph(name)
    side, left, top = min(image.size), (image.width - min(image.size)) // 2, (image.height - min(image.size)) // 2
    return image.crop((left, top, left + side, top + side)).resize((256, 256), Image.Resampling.LANCZOS)


@cache
def damaged(operation: str, severity: float, name: str) -> np.ndarray:
    return to_array(find_operation(operation).apply(picture(name), generator(5, operation), severity))


def measured(metric: str, pixels: np.ndarray, name: str) -> float:
    """Return a metric of damaged pixels; of the change when it compares."""
    found = find_metric(metric)
    return found.function(pixels, to_array(picture(name))) if found.kind == "paired" else found.function(pixels)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_corruption_is_caught_by_its_detector_and_grows_with_severity(name):
    """Spearman's rank correlation over ten severities, as scipy computes it; and the last is far from clean."""
    word = find_operation(name).measured_by
    sign, metric = (-1 if word.startswith("-") else 1), word.removeprefix("-")
    curves = [[measured(metric, damaged(name, severity, photo), photo) for severity in SEVERITIES] for photo in NAMES]
    ranks = [sign * float(spearmanr(SEVERITIES, curve).statistic) for curve in curves]
    assert np.mean(ranks) >= 0.9, curves
    for photo, curve in zip(NAMES, curves, strict=True):
        clean, faint = (measured(metric, pixels, photo) for pixels in (to_array(picture(photo)), grainy(photo)))
        beside = faint if find_metric(metric).kind == "paired" else clean
        assert sign * (curve[-1] - beside) > 0.1 * abs(beside), (photo, clean, faint, curve)


def grainy(name: str) -> np.ndarray:
    """Return the picture with grain that is barely seen."""
    grain = np.random.Generator(np.random.PCG64(0)).normal(0, 2, (256, 256, 3))
    return np.rint(to_array(picture(name)) + grain).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("metric", OWN)
def test_a_detector_stays_silent_about_the_damage_of_others(metric):
    """Other damage raises it by less than a quarter of what its own does, on the same picture."""
    own, kin = OWN[metric]
    for photo in NAMES:
        clean = measured(metric, to_array(picture(photo)), photo)
        rises = {other: measured(metric, damaged(other, 1.0, photo), photo) - clean for other in OTHERS}
        loud = {other: rise / rises[own] for other, rise in rises.items() if other != own and rise > rises[own] / 4}
        assert rises[own] > 0 and set(loud) <= kin, (photo, loud)


def test_the_page_has_every_corruption_with_its_metric():
    """docs/detectors.md is written by benchmarks/detectors.py --docs; its figures are of the machine that wrote it."""
    text = (Path(__file__).resolve().parent.parent / "docs" / "detectors.md").read_text("utf-8")
    rows = [line.split(" | ")[:2] for line in text.split("## ")[1].splitlines() if line.startswith("| ")]
    found = {name.strip("| "): word.strip() for name, word in rows}
    assert found.items() >= {name: find_operation(name).measured_by for name in OPERATIONS}.items()
