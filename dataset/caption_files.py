"""Captions on disk: a text file beside each picture, or rows of a metadata.jsonl."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from .files import is_file_inside

CaptionSource = Literal["auto", "text files", "metadata.jsonl", "none"]

CAPTION_EXTENSIONS = frozenset({".txt", ".caption"})
METADATA_NAME = "metadata.jsonl"
CAPTION_KEYS = ("text", "caption", "prompt", "additional_feature", "description")


def captions_for(folder: Path, pictures: list[Path], source: CaptionSource) -> tuple[dict[Path, str], list[str]]:
    """Return the captions that exist, by picture, and notes on what was odd.

    "text files": ``cat.txt``, else ``cat.caption``, beside ``cat.png``. "metadata.jsonl": the row (Hugging Face's
    imagefolder format) whose ``file_name`` is the picture, in a metadata.jsonl of `folder` or of any folder between;
    the caption is the first of `CAPTION_KEYS` in the row. "auto": the text file, else the row.
    Raises ValueError naming file and line when a metadata.jsonl is malformed.
    """
    rows: dict[Path, str] = {}
    notes: list[str] = []
    if source in ("auto", "metadata.jsonl"):
        for place in _folders_above(folder, pictures):
            rows |= _rows(folder, place, notes)
    captions = {}
    for picture in pictures:
        beside = _beside(folder, picture, notes) if source in ("auto", "text files") else None
        text = rows.get(picture) if beside is None else beside
        if text is not None:
            captions[picture] = text
    known = set(pictures)
    unused = sorted(path.name for path in rows if path not in known)
    if unused:
        notes.append(f"{METADATA_NAME} has {len(unused)} row(s) for pictures that are not there, e.g. {unused[0]}")
    return captions, notes


def _beside(folder: Path, picture: Path, notes: list[str]) -> str | None:
    for extension in (".txt", ".caption"):
        path = picture.with_suffix(extension)
        if is_file_inside(folder, path):
            return read_text(path, notes)
    return None


def read_text(path: Path, notes: list[str]) -> str:
    """Return the file's text without blank ends; UTF-8, else UTF-16 with its mark, else Windows-1252 (noted).

    Raises ValueError when the file cannot be read at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path.name}: got {error.strerror}, allowed is a readable file, repair or remove it"
        ) from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").strip()
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        notes.append(f"{path.name} is not UTF-8 and was read as Windows-1252")
        return data.decode("cp1252", "replace").strip()


def _folders_above(folder: Path, pictures: Iterable[Path]) -> list[Path]:
    """Return `folder` and every folder down to a picture, outermost first (an inner row wins)."""
    places = {folder}
    for picture in pictures:
        place = picture.parent
        while place not in places and place.is_relative_to(folder):
            places.add(place)
            place = place.parent
    return sorted(places, key=lambda place: (len(place.parts), str(place)))


def _rows(folder: Path, place: Path, notes: list[str]) -> dict[Path, str]:
    path = place / METADATA_NAME
    if not is_file_inside(folder, path):
        return {}
    rows = {}
    for number, line in enumerate(read_text(path, notes).split("\n"), start=1):
        if line.strip():
            name, text = _row(line, f"{METADATA_NAME} line {number}")
            rows[place / name] = text
    return rows


def _row(line: str, where: str) -> tuple[str, str]:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:  # brackets in brackets, numbers of thousands of digits
        raise ValueError(
            f"{where}: got {line[:60]!r}, allowed is one JSON object a line, repair it ({error})"
        ) from error
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        raise ValueError(f'{where}: got {line[:60]!r}, allowed is an object with "file_name", add it')
    text = next((row[key] for key in CAPTION_KEYS if row.get(key) is not None), "")
    if not isinstance(text, str):
        raise ValueError(f"{where}: got a caption of type {type(text).__name__}, allowed is a string, make it one")
    return row["file_name"], text.strip()
