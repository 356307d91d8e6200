"""Folders of clean photographs in which defects are planted, for the audit: each kind in its own files.

The photographs are scikit-image's, cut to pieces that do not look like one another; the seed decides the rest.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from photographs import photograph
from PIL import Image, ImageEnhance, ImageFilter

SOURCES = ("astronaut", "camera", "cell", "chelsea", "coffee", "hubble", "motorcycle", "retina", "rocket")
SMALLEST = 288  # a tenth less is not tiny yet
_NAMES = ("oak", "harbour", "market", "window", "river", "tower", "lantern", "staircase", "meadow", "bridge", "violin")
_COLOURS = ("red", "green", "blue", "brown", "grey", "white", "black", "golden", "orange", "teal")
_ALIKE = 0.8  # correlation of two pieces above which only one is taken


def clean_pictures(count: int, rng: np.random.Generator) -> list[Image.Image]:
    """Return pieces of real photographs, 288 pixels or more a side, turned, tinted and lightened, none alike."""
    found: list[Image.Image] = []
    seen: list[np.ndarray] = []
    while len(found) < count:
        image = _varied(_piece(photograph(str(rng.choice(SOURCES))), rng), rng)
        looks = [_look(image), _look(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))]
        if _is_lively(image) and all(np.mean(look * other) < _ALIKE for look in looks for other in seen):
            found.append(image)
            seen.append(looks[0])
    return found


def _piece(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    side = int(rng.integers(SMALLEST, max(SMALLEST + 1, min(image.size) * 3 // 4)))
    wide = min(image.width, int(side * rng.uniform(1, 1.5)))
    left, top = int(rng.integers(0, image.width - wide + 1)), int(rng.integers(0, image.height - side + 1))
    return image.crop((left, top, left + wide, top + side))


def _varied(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    image = image.transpose([Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180][int(rng.integers(2))])
    image = ImageEnhance.Color(image).enhance(rng.uniform(0.7, 1.4))
    return ImageEnhance.Brightness(image).enhance(rng.uniform(0.85, 1.15))


def _look(image: Image.Image) -> np.ndarray:
    """Return 16x16 levels of mean 0 and deviation 1: the mean product of two is their correlation."""
    small = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), float)
    return (small - small.mean()) / max(1.0, small.std())


def _is_lively(image: Image.Image) -> bool:
    """Say whether a piece is what somebody would train on: not a patch of sky, nor of blur."""
    grey = np.asarray(image.convert("L"), float)
    steps = np.abs(np.diff(grey, axis=1)).mean()
    return bool(grey.std() > 20 and steps > 2.5 and np.percentile(grey, 99) > 110)


def caption(rng: np.random.Generator) -> str:
    """Return a caption with a colour and words that are not in all captions."""
    colour, name, other = rng.choice(_COLOURS), *rng.choice(_NAMES, 2, replace=False)
    return f"prtkl, {colour} {name} beside a {other}"


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _transparent(image: Image.Image) -> Image.Image:
    mask = Image.new("L", image.size, 255)
    mask.paste(0, (0, 0, image.width // 3, image.height))
    image = image.copy()
    image.putalpha(mask)
    return image


def _recompressed(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(_jpeg(image, 15))).convert("RGB")


# What a defect makes of a clean picture: (ending, bytes).
PICTURE_DEFECTS: dict[str, Callable[[Image.Image], tuple[str, bytes]]] = {
    "unreadable": lambda image: ("jpg", _jpeg(image, 90)[: image.width * 8]),
    "tiny": lambda image: ("png", _png(image.resize((96, 80)))),
    "greyscale": lambda image: ("png", _png(image.convert("L"))),
    "CMYK": lambda image: ("jpg", _jpeg(image.convert("CMYK"), 92)),
    "palette": lambda image: ("png", _png(image.quantize(64))),
    "transparent": lambda image: ("png", _png(_transparent(image))),
    "heavily compressed": lambda image: ("jpg", _jpeg(image, 20)),
    "recompressed": lambda image: ("png", _png(_recompressed(image))),
    "blank": lambda image: ("png", _png(Image.new("RGB", image.size, image.getpixel((9, 9))))),
    "blurred": lambda image: ("png", _png(image.filter(ImageFilter.GaussianBlur(7)))),
    "underexposed": lambda image: ("png", _png(image.point(lambda level: level // 6))),
    "overexposed": lambda image: ("png", _png(image.point(lambda level: 200 + level // 5))),
    "extreme shape": lambda image: ("png", _png(image.resize((1200, 300)))),
}
# What is planted beside a clean picture of the folder.
COPY_DEFECTS: dict[str, Callable[[Image.Image], bytes]] = {
    "exact duplicate": _png,
    "near duplicate": lambda image: _png(image.resize((image.width * 9 // 10, image.height * 9 // 10))),
    "mirrored": lambda image: _png(
        ImageEnhance.Brightness(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)).enhance(0.9)
    ),
}
CAPTION_DEFECTS = {
    "no caption": lambda text: "",
    "no trigger": lambda text: text.removeprefix("prtkl, "),
    "no colour words": lambda text: f"prtkl, a {text.split()[-1]}",
}
# The audit's own word for those that it does not tell apart.
KIND_OF = {"recompressed": "heavily compressed", "mirrored": "near duplicate"}


def planted(folder: Path, count: int, of_each: int, seed: int = 0) -> dict[str, set[str]]:
    """Write `count` pictures with captions, `of_each` with each kind of defect; return which file has which kinds.

    Clean ones have an empty set. The trigger word is "prtkl".
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    copied = len(COPY_DEFECTS) * of_each
    pictures = clean_pictures(count - copied, rng)
    truth: dict[str, set[str]] = {}
    waiting = [kind for kind in (*PICTURE_DEFECTS, *CAPTION_DEFECTS) for _ in range(of_each)]
    for number, image in enumerate(pictures):
        kind = waiting[number] if number < len(waiting) else ""
        ending, content = PICTURE_DEFECTS[kind](image) if kind in PICTURE_DEFECTS else ("png", _png(image))
        text = CAPTION_DEFECTS[kind](caption(rng)) if kind in CAPTION_DEFECTS else caption(rng)
        _write(folder, truth, f"{number:04}", ending, content, text, {kind} - {""})
    clean = range(len(waiting), len(pictures))
    for number, (kind, of) in enumerate(zip(COPY_DEFECTS, np.array_split(clean, len(COPY_DEFECTS)), strict=True)):
        for place, original in enumerate(of[:of_each]):
            content = COPY_DEFECTS[kind](pictures[original])
            _write(folder, truth, f"copy-{number}-{place:03}", "png", content, caption(rng), {kind})
    return truth


def _write(
    folder: Path, truth: dict[str, set[str]], stem: str, ending: str, content: bytes, text: str, kinds: set[str]
) -> None:
    (folder / f"{stem}.{ending}").write_bytes(content)
    (folder / f"{stem}.txt").write_text(text)
    # Without a caption there is no trigger either, and without words no colours.
    truth[f"{stem}.{ending}"] = {KIND_OF.get(kind, kind) for kind in kinds} | (
        {"no trigger", "no colour words"} if "no caption" in kinds else set()
    )
