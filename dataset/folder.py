"""A folder of pictures and caption files as a dataset."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from .caption_files import CAPTION_EXTENSIONS, METADATA_NAME, CaptionSource, captions_for
from .dataset import Dataset, Item
from .files import content_key, is_file_inside, picture_size
from .images import BrokenImage, Colour, readable_extensions
from .seeds import derive_seed

BrokenPolicy = Literal["skip and report", "refuse"]
MissingPolicy = Literal["allow", "refuse"]
Watcher = Callable[[int, int], None]

_KOHYA_NAME = re.compile(r"(\d{1,3})_")
_DATE_LIKE = re.compile(r"\d{4,}_")
_SHOWN = 20
_BESIDE_PICTURES = frozenset(
    {".json", ".jsonl", ".csv", ".toml", ".yaml", ".md", ".npz", ".safetensors", ".db", ".ini"}
)


@dataclass(frozen=True)
class FolderOptions:
    """How a folder is read.

    recursive: take subfolders at any depth; without it only the folder itself and its direct ``10_name`` subfolders.
    captions: where captions come from (`caption_files.captions_for`).
    broken: what happens on pictures that cannot be used. missing: what happens on pictures without a caption.
    background: the colour transparency is laid over.
    """

    recursive: bool = True
    captions: CaptionSource = "auto"
    broken: BrokenPolicy = "skip and report"
    missing: MissingPolicy = "allow"
    background: Colour = (255, 255, 255)

    def __post_init__(self) -> None:
        for name, choices in (("captions", CaptionSource), ("broken", BrokenPolicy), ("missing", MissingPolicy)):
            if getattr(self, name) not in get_args(choices):
                allowed = list(get_args(choices))
                raise ValueError(f"{name}: got {getattr(self, name)!r}, allowed {allowed}, choose one of them")


def load_folder(
    folder: Path, options: FolderOptions = FolderOptions(), watch: Watcher | None = None, called: str = ""
) -> Dataset:
    """Return the pictures of `folder`, sorted by their path inside it (plain string order).

    Every file is decoded once to find broken ones; `watch(done, total)` is called after each. A folder called
    ``10_name`` (kohya's convention; `folder` itself or a direct subfolder) makes its pictures count ten times; a number
    of more than three digits, as in ``20240512_trip``, belongs to the name, and a note says so.
    called: the folder's name in errors. Raises ValueError when the folder is missing or empty, no picture is usable, or
    a policy says refuse.
    """
    called = called or folder.name
    if not folder.is_dir():
        raise ValueError(f"folder: got {called!r}, which is not there any more, choose a folder from the list")
    paths = list(picture_paths(folder, options.recursive))
    others = _other_kinds(folder, options.recursive)
    if not paths:
        found = f"holds no picture that is read{f' (only {others})' if others else ''}"
        raise ValueError(f"folder: got {called!r}, which {found}, put pictures into it or choose another")
    items, broken = _usable_items(folder, paths, options, watch)
    if broken and (options.broken == "refuse" or not items):
        raise ValueError(
            f"folder {called!r}: got {len(broken)} broken picture(s) of {len(paths)}, allowed "
            f"{'none' if options.broken == 'refuse' else 'some as long as one is usable'}, repair or remove them:\n"
            + "\n".join(_shortened(_lines(broken)))
        )
    items, notes = _captioned(folder, items, options)
    left_out = [f"Left out, not a picture that is read: {others}."] if others else []
    told = (*_broken_notes(broken), *left_out, *_number_notes(folder), *notes)
    return Dataset(tuple(items), notes=told, broken=tuple(broken))


def picture_paths(folder: Path, recursive: bool = True) -> Iterator[Path]:
    """Yield the picture files below `folder` that `load_folder` takes, sorted by relative path with forward slashes."""
    wanted = readable_extensions()
    found = [path for path in _files(folder, recursive) if path.suffix.lower() in wanted]
    yield from sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def folder_state(folder: Path, recursive: bool = True) -> str:
    """Return a hash of names, sizes and times of the pictures and caption files: changes when one of them does."""
    wanted = readable_extensions() | CAPTION_EXTENSIONS
    lines = []
    for path in _files(folder, recursive):
        if path.suffix.lower() in wanted or path.name == METADATA_NAME:
            found = path.stat()
            lines.append(f"{path.relative_to(folder).as_posix()}\0{found.st_size}\0{found.st_mtime_ns}")
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape")).hexdigest()


def split_dataset(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Return (kept, held out): a seeded choice of about `fraction` (0..0.5) of the pictures.

    The choice depends on each file's content and the seed, so it survives renaming, and copies of one file stay on
    one side. A fraction above 0 holds out at least one picture of two or more.
    """
    if not 0 <= fraction <= 0.5:
        raise ValueError(f"hold_out: got {fraction}, allowed 0 to 0.5, choose a smaller part")
    keys = sorted({item.key for item in dataset.items}, key=lambda key: derive_seed(seed, "hold_out", key))
    count = 0 if fraction == 0 or len(keys) < 2 else max(1, round(fraction * len(keys)))
    held = set(keys[:count])
    return (
        replace(dataset, items=tuple(item for item in dataset.items if item.key not in held)),
        replace(dataset, items=tuple(item for item in dataset.items if item.key in held), notes=(), broken=()),
    )


def repeats_of(folder: Path, path: Path) -> int:
    """Return how often `path` counts: the number (0 to 999) of ``10_name``, of the direct subfolder or `folder`."""
    parts = path.relative_to(folder).parts
    names = (parts[0], folder.name) if len(parts) > 1 else (folder.name,)
    for name in names:
        match = _KOHYA_NAME.match(name)
        if match:
            return int(match.group(1))
    return 1


def _files(folder: Path, recursive: bool) -> Iterator[Path]:
    """Yield regular files; hidden ones, and links that lead out of the folder, are left out."""
    for place, subfolders, names in os.walk(folder):
        at_root = Path(place) == folder
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and (recursive or (at_root and _KOHYA_NAME.match(name)))
        ]
        for name in names:
            path = Path(place, name)
            if not name.startswith(".") and is_file_inside(folder, path):
                yield path


def _other_kinds(folder: Path, recursive: bool) -> str:
    """Return the kinds of files that are no pictures and usually not beside pictures, e.g. ``.heic (3)``."""
    expected = readable_extensions() | CAPTION_EXTENSIONS | _BESIDE_PICTURES
    kinds = Counter(path.suffix.lower() for path in _files(folder, recursive))
    return ", ".join(
        f"{kind or 'no extension'} ({count})" for kind, count in sorted(kinds.items()) if kind not in expected
    )


def _usable_items(
    folder: Path, paths: list[Path], options: FolderOptions, watch: Watcher | None
) -> tuple[list[Item], list[tuple[str, str]]]:
    """Return items still without captions, and (name, reason) of each broken file."""
    items, broken = [], []
    for done, path in enumerate(paths, start=1):
        name = path.relative_to(folder).as_posix()
        repeats = repeats_of(folder, path)
        try:
            if repeats:
                items.append(Item(path, name, "", repeats, content_key(path), picture_size(path), options.background))
        except BrokenImage as error:
            broken.append((name, str(error)))
        except OSError as error:
            broken.append((name, f"cannot be read: {error.strerror}"))
        if watch:
            watch(done, len(paths))
    return items, broken


def _captioned(folder: Path, items: list[Item], options: FolderOptions) -> tuple[list[Item], list[str]]:
    if options.captions == "none":
        return items, []
    captions, notes = captions_for(folder, [item.path for item in items], options.captions)
    missing = [item.name for item in items if not captions.get(item.path)]
    if missing and options.missing == "refuse":
        raise ValueError(
            f"captions: got none for {len(missing)} of {len(items)} pictures, allowed is a caption for each, "
            "write them or choose missing captions: allow\n" + "\n".join(_shortened(missing))
        )
    if missing:
        notes = [
            *notes,
            f"No caption ({len(missing)} of {len(items)}):",
            *(f"  {line}" for line in _shortened(missing)),
        ]
    return [replace(item, caption=captions.get(item.path, "")) for item in items], notes


def _lines(broken: list[tuple[str, str]]) -> list[str]:
    return [f"{name}: {reason}" for name, reason in broken]


def _broken_notes(broken: list[tuple[str, str]]) -> list[str]:
    if not broken:
        return []
    return [f"Skipped as broken ({len(broken)}):", *(f"  {line}" for line in _shortened(_lines(broken)))]


def _number_notes(folder: Path) -> list[str]:
    """Return a line for folder names whose number is too long to be meant as repeats."""
    names = [folder.name, *sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())]
    return [
        f"Folder {name}: a number of more than three digits is part of the name; its pictures count once."
        for name in names
        if _DATE_LIKE.match(name)
    ]


def _shortened(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _SHOWN else [*lines[:_SHOWN], f"... and {len(lines) - _SHOWN} more"]
