"""Noise of film and sensors."""

import numpy as np
from PIL import Image

from ..registry import Parameter, operation
from .pixels import rounded


@operation(
    "noise",
    Parameter("sigma", 40.0, "Standard deviation of the noise, of 255", 0, 128, 0.5),
    Parameter("colour", 0.3, "Part of the noise that differs between the channels: 0 grey, 1 coloured", 0, 1, 0.01),
    Parameter("size", 1.0, "Size of a grain", 1, 8, 0.1, "px"),
    Parameter("shot", 0.0, "Part of the noise that grows with the light, like counted photons", 0, 1, 0.01),
    tag="grain",
    measured_by="noise",
    codecs=("scipy",),
)
def grain(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    sigma: float,
    colour: float,
    size: float,
    shot: float,
) -> Image.Image:
    """Grain: Gaussian noise of film or a sensor, fine or coarse, grey or coloured.

    Severity scales the noise. Shot noise has a standard deviation in proportion to the square root of the light, the
    same at mid-grey.
    """
    values = np.asarray(image, np.float32)
    shape = (3, image.height, image.width)
    noise = _coarse(rng.standard_normal((1, *shape[1:]), np.float32), size) * (1 - colour)
    if colour:
        noise = noise + _coarse(rng.standard_normal(shape, np.float32), size) * colour
    # Independent parts add up by their squares: the sum has a standard deviation of 1 again.
    noise = np.moveaxis(noise, 0, -1) * np.float32(severity * sigma / np.hypot(1 - colour, colour))
    if shot:
        noise = noise * np.sqrt(1 - shot + shot * values / 128)
    return rounded(values + noise)


@operation(
    "noise",
    Parameter("amount", 0.1, "Part of the pixels that is lost", 0, 0.5, 0.005),
    Parameter("salt", 0.5, "Part of the lost pixels that is white; the rest is black", 0, 1, 0.01),
    Parameter("colour", False, "Each channel is lost by itself, which makes coloured specks"),
    Parameter("size", 1, "Side of a speck", 1, 16, unit="px"),
    tag="salt",
    measured_by="noise",
)
def salt_and_pepper(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    amount: float,
    salt: float,
    colour: bool,
    size: int,
) -> Image.Image:
    """Salt and pepper: single pixels lost to white and black.

    Severity is the part of the lost pixels; more severity adds specks and moves none.
    """
    rows, columns = -(-image.height // size), -(-image.width // size)
    lost, kind = rng.random((2, rows, columns, 3 if colour else 1), np.float32)
    lost, white = (
        one.repeat(size, 0)[: image.height].repeat(size, 1)[:, : image.width]
        for one in (lost < severity * amount, kind < salt)
    )
    return Image.fromarray(np.where(lost, np.where(white, np.uint8(255), np.uint8(0)), np.asarray(image)))


@operation(
    "noise",
    Parameter("rows", 32.0, "Standard deviation of the rows' brightness, of 255", 0, 80, 0.5),
    Parameter("columns", 12.0, "Standard deviation of the columns' brightness, of 255", 0, 80, 0.5),
    Parameter("band", 1, "Rows or columns that go together", 1, 64, unit="px"),
    Parameter("hot_pixels", 0.001, "Part of the pixels stuck at full in one colour", 0, 0.05, 0.0005),
    tag="band",
    measured_by="row_banding",
)
def sensor_banding(
    image: Image.Image,
    rng: np.random.Generator,
    severity: float,
    *,
    rows: float,
    columns: float,
    band: int,
    hot_pixels: float,
) -> Image.Image:
    """Sensor banding: rows and columns of uneven brightness, and hot pixels that are stuck.

    Severity scales the banding, and is the part of the hot pixels.
    """
    by_row = rng.standard_normal((-(-image.height // band), 1, 1)).repeat(band, 0)[: image.height]
    by_column = rng.standard_normal((1, -(-image.width // band), 1)).repeat(band, 1)[:, : image.width]
    uneven = severity * (rows * by_row + columns * by_column)
    values = np.asarray(image, np.float32) + uneven.astype(np.float32)
    stuck = rng.random((image.height, image.width), np.float32) < severity * hot_pixels
    values[stuck, rng.integers(0, 3, (image.height, image.width), np.uint8)[stuck]] = 255
    return rounded(values)


def _coarse(noise: np.ndarray, size: float) -> np.ndarray:
    """Return noise (channels, height, width) of standard deviation 1 with grains of about `size` pixels."""
    if size <= 1:
        return noise
    from scipy.ndimage import gaussian_filter

    sigma = (size - 1) / 2
    # A grid with wrapped ends keeps the spread exact: it is the root of the sum of the squared weights.
    impulse = np.zeros(4 * int(4 * sigma + 2) + 1)
    impulse[impulse.size // 2] = 1
    weights = gaussian_filter(impulse, sigma)
    smooth = gaussian_filter(noise, (0, sigma, sigma), mode="wrap")
    return smooth / np.float32(np.square(weights).sum())
