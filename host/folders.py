"""Which folders the pack reads and writes: nothing outside ComfyUI's own."""

import os
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path

import folder_paths

RUNS_FOLDER = "glitch_lora"
MAX_DEPTH = 3
SAVE_ROOTS = ("output", "datasets")

_NAME_BYTES = 100  # systems allow 255 in a name; files below it have long names too
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{kind}{digit}" for kind in ("COM", "LPT") for digit in "0123456789¹²³")}
_SETTLED_NS = 3_000_000_000  # file systems tell times as coarsely as 2 s: a younger listing may be out of date


def output_folder() -> Path:
    """Return ComfyUI's output folder."""
    return Path(folder_paths.get_output_directory())


def loras_folder() -> Path:
    """Return the folder below output where ComfyUI looks for LoRA files too."""
    return output_folder() / "loras"


def embeddings_folder() -> Path:
    """Return the folder below output where prompts find embedding files too (`register_embeddings_folder`)."""
    return output_folder() / "embeddings"


def register_embeddings_folder() -> None:
    """Let ComfyUI look for embeddings in `embeddings_folder` too, as it does for LoRA files in output/loras.

    A CLIP looks where ComfyUI did when it was loaded, so this comes first, with the pack. A second call does nothing.
    """
    folder_paths.add_model_folder_path("embeddings", str(embeddings_folder()))


def temporary_dataset_folder() -> Path:
    """Return where pictures from memory are kept until ComfyUI empties its temp folder."""
    return Path(folder_paths.get_temp_directory()) / RUNS_FOLDER / "datasets"


def demo_datasets_folder() -> Path:
    """Return where drawn datasets are kept: below ComfyUI's datasets folder, so that Load Dataset lists them too."""
    return Path(folder_paths.get_folder_paths("datasets")[0]) / "glitch-demo"


def claim_input_folder(wish: str) -> str:
    """Make a new empty folder below ComfyUI's input folder and return its name: no two calls get the same one.

    wish: what the user's folder is called; letters and names that some system forbids are changed. ``cats`` becomes
    ``cats-2`` when a file or folder has that name, whatever the case of its letters. Without a wish: ``dataset-1``,
    ``dataset-2`` and so on. Raises OSError when no folder can be made.
    """
    place = Path(folder_paths.get_input_directory())
    place.mkdir(parents=True, exist_ok=True)
    taken = {entry.name.lower() for entry in place.iterdir()}
    for name in _names(_portable(wish)):
        if name.lower() not in taken:
            try:
                (place / name).mkdir()
            except FileExistsError:  # another process was faster
                continue
            return name
    raise AssertionError("the names never end")


def saved_dataset_places(root: str, wish: str) -> Iterator[Path]:
    """Yield where a dataset may be saved: ``wish``, ``wish-2`` and so on in the folder `root`, without end.

    root: "output" or "datasets", of `dataset_roots`; its first place. Letters and names that some system forbids are
    changed, and so are dots, because some loaders search a path for ".png". Raises ValueError for another root.
    """
    if root not in SAVE_ROOTS:
        raise ValueError(f"place: got {root!r}, allowed {list(SAVE_ROOTS)}, choose one of them")
    place = dataset_roots()[root][0]
    for name in _names(_portable(wish.replace(".", "-"))):
        if name.lower() != RUNS_FOLDER:  # holds runs, and is not listed among datasets
            yield place / name


def _names(base: str) -> Iterator[str]:
    if base:
        yield base
    for number in count(2 if base else 1):
        yield f"{base or 'dataset'}-{number}"


def _portable(wish: str) -> str:
    """Return `wish` as a name that every system allows, or "" when nothing is left of it."""
    name = re.sub(r"[^\w.() -]+", "-", wish).strip(" .-")
    name = name.encode("utf-8", "ignore")[:_NAME_BYTES].decode("utf-8", "ignore").rstrip(" .-")
    return f"dataset-{name}" if name.split(".")[0].rstrip().upper() in _DEVICES else name


def dataset_roots() -> dict[str, tuple[Path, ...]]:
    """Return the folders that datasets may lie in, by the word a dataset's name starts with."""
    return {
        "input": (Path(folder_paths.get_input_directory()),),
        "output": (output_folder(),),
        "datasets": tuple(Path(place) for place in folder_paths.get_folder_paths("datasets")),
    }


def list_dataset_folders(extensions: frozenset[str]) -> list[str]:
    """Return the names of folders that hold a file with one of `extensions`, in themselves or below, sorted.

    A name is e.g. ``input/cats`` or ``datasets/artist/10_cats``, at most `MAX_DEPTH` folders deep. A folder is read
    again only when its modification time changed, so a call costs one look per folder.
    """
    found: set[str] = set()
    for word, places in dataset_roots().items():
        for place in places:
            found |= {f"{word}/{name}" for name in _pictured_below(place, place, "", extensions)}
    return sorted(found)


def dataset_folder(name: str) -> Path:
    """Return the folder called `name`, e.g. ``input/cats``. Raises ValueError for any place outside the roots."""
    word, *parts = name.replace("\\", "/").split("/") if isinstance(name, str) else [""]
    roots = dataset_roots().get(word, ())
    if parts and not any(part in ("", ".", "..") or "\0" in part for part in parts):
        for root in roots:
            path = root.joinpath(*parts)
            if folder_paths.is_within_directory(str(root), str(path)) and path.is_dir():
                return path
    raise ValueError(
        f"folder: got {name!r}, allowed are folders under ComfyUI's input, output or datasets folder, "
        "named from there, such as input/cats, move the pictures there and choose the folder from the list"
    )


def _pictured_below(root: Path, place: Path, prefix: str, extensions: frozenset[str]) -> set[str]:
    """Return the names, below `place`, of folders with pictures in them or further down."""
    found: set[str] = set()
    depth = prefix.count("/")
    for name in _listing(place, extensions)[1] if depth < MAX_DEPTH else ():
        path = place / name
        own_runs = root == output_folder() and not prefix and name == RUNS_FOLDER
        if own_runs or not folder_paths.is_within_directory(str(root), str(path)):
            continue
        below = _pictured_below(root, path, f"{prefix}{name}/", extensions)
        if below or _listing(path, extensions)[0]:
            found |= below | {prefix + name}
    return found


def _listing(place: Path, extensions: frozenset[str]) -> tuple[bool, tuple[str, ...]]:
    """Return (has a file with one of `extensions`, names of visible subfolders)."""
    try:
        changed_ns = os.stat(place).st_mtime_ns
        settled = time.time_ns() - changed_ns > _SETTLED_NS
        read = _read_listing if settled else _read_listing.__wrapped__
        return read(str(place), changed_ns, extensions)
    except OSError:
        return False, ()


@lru_cache(maxsize=4096)
def _read_listing(place: str, changed_ns: int, extensions: frozenset[str]) -> tuple[bool, tuple[str, ...]]:
    with os.scandir(place) as entries:
        seen = [entry for entry in entries if not entry.name.startswith(".")]
    pictured = any(os.path.splitext(entry.name)[1].lower() in extensions for entry in seen)
    return pictured, tuple(sorted(entry.name for entry in seen if entry.is_dir()))
