"""Real photographs for tests: those that scikit-image carries in its wheel (nothing is downloaded)."""

from functools import cache
from pathlib import Path

from PIL import Image

_FILES = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "cell": "cell.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble": "hubble_deep_field.jpg",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}


def photograph(name: str) -> Image.Image:
    """Return the named photograph as a new RGB image."""
    return _read(name).copy()


def write_dataset(folder: Path, names: list[str], captions: bool = True) -> Path:
    """Write photographs as PNG with caption files, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        image = photograph(name)
        image.save(folder / f"{name}.png")
        if captions:
            (folder / f"{name}.txt").write_text(f"a photo of {name}\n", encoding="utf-8")
    return folder


@cache
def _read(name: str) -> Image.Image:
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / _FILES[name]) as image:
        pixels = image.convert("RGB")
    pixels.info.clear()  # a colour profile would be saved into the test's files
    return pixels
