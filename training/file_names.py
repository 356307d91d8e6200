"""Names for runs and files: from what they hold, and valid on every operating system."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

_LONGEST = 64  # bytes, so that "<run>-<step>.safetensors" and Windows' 260-character paths leave room
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}


def content_key(parts: Any) -> str:
    """Return the SHA-256 (hex) of `parts` as canonical JSON: equal values, equal key, whatever the order of keys.

    Raises ValueError for values JSON cannot hold exactly (NaN, objects), which would make a key that never matches.
    """
    try:
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"content key: got {error}, allowed JSON values, convert it first") from error
    return hashlib.sha256(text.encode()).hexdigest()


def safe_name(name: str, fallback: str = "run") -> str:
    """Return `name` as one path component for Windows, macOS and Linux, at most 64 bytes; `fallback` if none is left.

    Separators and characters that Windows refuses become "-"; leading dots, trailing dots and spaces go; names of
    devices (CON, NUL, COM1 ...) get a "_" in front.
    """
    text = unicodedata.normalize("NFC", name)
    text = "".join("-" if unicodedata.category(char)[0] in "CZ" and char != " " else char for char in text)
    text = re.sub(r'[<>:"/\\|?*%]+', "-", text)
    text = re.sub(r"\s+", " ", text).strip(" .-")
    text = text.encode()[:_LONGEST].decode(errors="ignore").rstrip(" .-")
    if text.split(".")[0].strip().lower() in _RESERVED:
        text = "_" + text
    return text or fallback


def run_folder_name(name: str, key: str, digits: int = 8) -> str:
    """Return `<name, made safe>-<first digits of the content key>`."""
    return f"{safe_name(name)}-{key[:digits]}"


def numbered_name(folder: Path, stem: str, suffix: str) -> Iterator[Path]:
    """Yield `stem.suffix`, `stem-2.suffix`, `stem-3.suffix` ... in `folder`, without end."""
    yield folder / f"{stem}{suffix}"
    for number in count(2):
        yield folder / f"{stem}-{number}{suffix}"
