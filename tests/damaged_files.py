"""Files that were real and got damaged, and what the pack makes of them: for the fuzz benchmark and its small test.

A case is a number: with the seed it decides the file, the damage and what is tried, so that each can be run again.
"""

import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from photographs import photograph
from PIL import Image

FORMATS: dict[str, dict] = {
    "plain.jpg": {"quality": 85},
    "progressive.jpg": {"quality": 85, "progressive": True},
    "cmyk.jpg": {"quality": 85},
    "colour.png": {},
    "alpha.png": {},
    "palette.png": {},
    "deep.png": {},
    "lossy.webp": {"quality": 80},
    "lossless.webp": {"lossless": True},
    "moving.webp": {"save_all": True},
    "still.gif": {},
    "moving.gif": {"save_all": True},
    "raw.tif": {},
    "deflated.tif": {"compression": "tiff_adobe_deflate"},
    "lzw.tif": {"compression": "tiff_lzw"},
    "jpeg.tif": {"compression": "jpeg"},
    "plain.bmp": {},
    "run.avif": {"quality": 60},
    "wave.jp2": {},
    "plain.tga": {"compression": "tga_rle"},
    "plain.ico": {},
    "plain.ppm": {},
}
TEXTS = ("caption.txt", "metadata.jsonl")
DAMAGES = ("bits", "bytes", "cut", "inserted", "deleted", "repeated", "swapped", "sizes", "bomb")
_SIZES = (0, 1, 7, 255, 4096, 9000, 16383, 20000, 65535, 0x7FFFFFFF, 0xFFFFFFFF)
_ROOM = 2_000_000


def kinds() -> list[str]:
    """Return what a case can be about: a file, or a corruption that goes through a codec."""
    return [*FORMATS, *TEXTS, "corruption"]


@dataclass(frozen=True)
class Case:
    """A damaged file, or (without data) a corruption to run. rng: decides what else is drawn."""

    kind: str
    damage: str
    data: bytes
    rng: np.random.Generator


def make_case(number: int, seed: int) -> Case:
    """Return case `number`; the same every time."""
    rng = np.random.default_rng((seed, number))
    kind = kinds()[number % len(kinds())]
    if kind == "corruption":
        return Case(kind, "codec", b"", rng)
    damage = str(rng.choice(DAMAGES))
    return Case(kind, damage, _damaged(_intact(kind), kind, damage, rng), rng)


def run_case(case: Case, place: Path, lap: Callable[[], None] = lambda: None) -> str:
    """Do a case in the folder `place`, which is removed; return what came out. `lap` is called after each reading.

    Whatever is raised besides what the pack promises (a ValueError that says why) comes out of here.
    """
    if case.kind == "corruption":
        return _corrupted(case.rng)
    place.mkdir(parents=True, exist_ok=True)
    try:
        return (_text_case if case.kind in TEXTS else _picture_case)(place, case, lap)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _picture_case(place: Path, case: Case, lap: Callable[[], None]) -> str:
    """Load a folder with a good and a damaged picture, audit it, and decode what was taken."""
    from glitch_lora.dataset.folder import FolderOptions, load_folder

    (place / case.kind).write_bytes(case.data)
    _write_good(place)
    if case.rng.random() < 0.2:
        try:
            load_folder(place, FolderOptions(broken="refuse"))
        except ValueError as error:
            return f"refused: {_reason(error)}"
        lap()
    dataset = load_folder(place)
    lap()
    _audited(dataset)
    lap()
    taken = [index for index, item in enumerate(dataset.items) if item.name == case.kind]
    for index in taken:
        try:
            dataset.sample(index)
        except ValueError as error:  # a cheap look at a JPEG does not see every damage
            return f"found broken when decoded: {_reason(error)}"
    return "read" if taken else f"skipped: {_reason(dataset.broken[0][1])}"


def _write_good(place: Path) -> None:
    (place / "good.png").write_bytes(_intact("colour.png"))
    os.utime(place / "good.png", (1, 1))  # an unchanged file is measured once


def _audited(dataset: object) -> None:
    from glitch_lora.dataset.audit import audit
    from glitch_lora.dataset.audit_report import audit_report, audit_table

    found = audit(dataset)  # type: ignore[arg-type]
    audit_report(found), audit_table(found)
    found.repaired("defects and warnings", "drop exact and near", colours=True)


def _text_case(place: Path, case: Case, lap: Callable[[], None]) -> str:
    from glitch_lora.dataset.folder import load_folder

    _write_good(place)
    (place / ("good.txt" if case.kind == "caption.txt" else case.kind)).write_bytes(case.data)
    try:
        dataset = load_folder(place)
    except ValueError as error:
        return f"refused: {_reason(error)}"
    lap()
    _audited(dataset)
    return "read" if dataset.caption(0) else "read as empty"


def _corrupted(rng: np.random.Generator) -> str:
    """Put a picture through a corruption that damages a coded file, with drawn settings."""
    from glitch_lora.glitch.registry import all_operations

    known = [operation for operation in all_operations() if operation.codecs]
    operation = known[int(rng.integers(len(known)))]
    side, other = (int(length) for length in rng.integers(1, 160, 2))
    image = photograph("chelsea").resize((side, other))
    values = {parameter.name: _drawn(parameter, rng) for parameter in operation.parameters}
    severity = float(rng.choice([0.01, 0.3, 1.0]))
    found = operation.apply(image, np.random.default_rng(int(rng.integers(1 << 40))), severity, **values)
    if found.size != image.size or found.mode != "RGB":
        raise AssertionError(f"{operation.name} gave {found.mode} {found.size} for {image.size} with {values}")
    return f"corrupted: {operation.name}"


def _drawn(parameter: object, rng: np.random.Generator) -> int | float | str | bool:
    """Return an allowed value of a corruption's parameter, its ends among them."""
    choices, default = parameter.choices, parameter.default  # type: ignore[attr-defined]
    if choices:
        return str(rng.choice(choices))
    if isinstance(default, bool):
        return bool(rng.integers(2))
    if isinstance(default, str):
        return default
    low, high = parameter.minimum, parameter.maximum  # type: ignore[attr-defined]
    value = float(rng.choice([low, high, rng.uniform(low, high)]))
    return int(round(value)) if isinstance(default, int) else value


def _reason(error: object) -> str:
    return str(error).splitlines()[0][:100]


@cache
def _intact(kind: str) -> bytes:
    """Return a real file of that kind, before it is damaged."""
    if kind == "caption.txt":
        return "prtkl, zwölf particles – 十二, on white, (bright:1.2)\n".encode() * 3
    if kind == "metadata.jsonl":
        rows = [{"file_name": "good.png", "text": "a cup é"}, {"file_name": "b.png", "caption": None, "tags": [1, {}]}]
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    image = photograph("coffee").resize((96, 72))
    modes = {"cmyk.jpg": "CMYK", "alpha.png": "RGBA", "palette.png": "P", "deep.png": "I;16", "still.gif": "P"}
    if kind == "deep.png":
        image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    elif kind in modes:
        image = image.convert(modes[kind])
    more = {"append_images": [image.rotate(90), image.rotate(180)]} if kind.startswith("moving") else {}
    exif = Image.Exif()
    exif[0x0112] = 6
    if kind in ("plain.jpg", "lossy.webp", "colour.png", "raw.tif"):
        more["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, Image.registered_extensions()[f".{kind.rsplit('.', 1)[1]}"], **FORMATS[kind], **more)
    return buffer.getvalue()


def _damaged(data: bytes, kind: str, damage: str, rng: np.random.Generator) -> bytes:
    octets = bytearray(data)
    if damage == "bomb":
        return _bomb(kind, rng) or _sized(octets, rng)
    if damage == "sizes":
        return _sized(octets, rng)
    start = int(rng.integers(len(octets)) * float(rng.choice([1.0, 0.1])))  # headers are at the beginning
    run = int(min(len(octets) - start, rng.choice([1, 2, 4, 16, 200, 3000])))
    changes: dict[str, Callable[[], bytes]] = {
        "bits": lambda: _flipped(octets, rng),
        "bytes": lambda: bytes(octets[:start] + rng.bytes(run) + octets[start + run :]),
        "cut": lambda: bytes(octets[:start]),
        "inserted": lambda: bytes(octets[:start] + rng.bytes(run) + octets[start:]),
        "deleted": lambda: bytes(octets[:start] + octets[start + run :]),
        "repeated": lambda: bytes(
            octets[:start] + octets[start : start + run] * int(rng.integers(2, 50)) + octets[start:]
        ),
        "swapped": lambda: bytes(octets[start + run :] + octets[: start + run]),
    }
    return changes[damage]()[:_ROOM]


def _flipped(octets: bytearray, rng: np.random.Generator) -> bytes:
    reach = int(rng.choice([len(octets), min(len(octets), 200)]))
    for place in rng.integers(0, reach, int(rng.choice([1, 3, 10, 60]))):
        octets[place] ^= 1 << int(rng.integers(8))
    return bytes(octets)


def _sized(octets: bytearray, rng: np.random.Generator) -> bytes:
    """Write a number where headers have sizes, and mend a PNG's checksum so that it is believed."""
    width = int(rng.choice([2, 4]))
    order = str(rng.choice(["<", ">"]))
    value = int(rng.choice(_SIZES)) & ((1 << 8 * width) - 1)
    if octets.startswith(b"\x89PNG") and len(octets) > 33:
        value = int(rng.choice(_SIZES))
        place = 16 + 4 * int(rng.integers(2))
        octets[place : place + 4] = struct.pack(">I", value)
        octets[29:33] = struct.pack(">I", zlib.crc32(octets[12:29]))
        return bytes(octets)
    frame = octets.find(b"\xff\xc0") if octets.find(b"\xff\xc0") > 0 else octets.find(b"\xff\xc2")
    place = frame + 5 if frame > 0 and octets.startswith(b"\xff\xd8") else int(rng.integers(0, min(len(octets), 120)))
    octets[place : place + width] = struct.pack(order + ("H" if width == 2 else "I"), value)
    return bytes(octets)


def _bomb(kind: str, rng: np.random.Generator) -> bytes | None:
    """Return a small file that is valid and unpacks to far more than it weighs, or None for other formats."""
    side = int(rng.choice([3000, 6000, 14000, 40000]))
    if kind.endswith(".png"):
        return _png_bomb(side, colour=2 if kind == "colour.png" else 6 if kind == "alpha.png" else 0)
    if kind in ("plain.jpg", "still.gif", "lossless.webp", "deflated.tif") and side <= 6000:
        return _saved_bomb(kind, side)
    if kind == "metadata.jsonl":
        return b"[" * 200_000 if side > 6000 else b'{"file_name": "good.png", "text": "' + b"x" * 1_000_000 + b'"}'
    return b"\xff\xfe" + b"\x00\xd8" * 100_000 if kind == "caption.txt" else None


@cache
def _png_bomb(side: int, colour: int) -> bytes:
    row = b"\0" * (1 + side * {0: 1, 2: 3, 6: 4}[colour])
    packer = zlib.compressobj(9)
    rows = min(side, 60_000_000 // len(row))  # more is promised than there is
    packed = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def _saved_bomb(kind: str, side: int) -> bytes:
    buffer = io.BytesIO()
    image = Image.new("P" if kind == "still.gif" else "RGB", (side, side))
    image.save(buffer, Image.registered_extensions()[f".{kind.rsplit('.', 1)[1]}"], **FORMATS[kind])
    return buffer.getvalue()
