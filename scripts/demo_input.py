"""Put the demo's pictures and the user's checkpoint where ComfyUI lists them. Standard library only."""

from __future__ import annotations  # an older Python must get as far as being told which one is needed

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

# A folder of the demo's own, so that a file of the same name that somebody put there himself stays.
OWN_CHECKPOINT = "yours"


def lay_out_pictures(images: Path, dataset: Path, say: Callable[[str], None]) -> None:
    """Put a copy of the folder `images` in the place of `dataset`. Raises ValueError naming what cannot be copied."""
    _refuse_own_folder(images, dataset)
    say(f"Copying your pictures into {dataset}")
    replace_folder(dataset, lambda folder: _copy_pictures(images, folder, say))


def lay_out_checkpoint(source: Path, checkpoints: Path) -> Path:
    """Link the file below ComfyUI's folder of checkpoints, or copy it where no link can be made.

    Returns its path from there. The name stays, because LoRA files name the model they were trained on.
    """
    wanted = checkpoints / OWN_CHECKPOINT / source.name
    if not (wanted.exists() and wanted.samefile(source)):
        shutil.rmtree(wanted.parent, ignore_errors=True)
        wanted.parent.mkdir(parents=True)
        _link_or_copy(source, wanted)
    return wanted.relative_to(checkpoints)


def lay_out_example(comfyui: Path, base: Path) -> None:
    """Put ComfyUI's own example pictures into the input folder of another base, where the first Load Image looks."""
    for picture in (comfyui / "input").glob("*.png"):
        wanted = base / "input" / picture.name
        if not wanted.exists():
            wanted.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, wanted)


def _link_or_copy(source: Path, wanted: Path) -> None:
    for link in (wanted.symlink_to, wanted.hardlink_to):
        try:
            link(source)
            return
        except OSError:
            continue
    shutil.copyfile(source, wanted)


def _refuse_own_folder(images: Path, dataset: Path) -> None:
    """Raise ValueError when one of the two folders lies in the other: the second one is replaced."""
    own = dataset.resolve()
    if images == own or images in own.parents or own in images.parents:
        raise ValueError(
            f"--images: got {str(images)!r}, allowed any folder that neither holds nor lies in {own}, which the demo "
            "replaces, copy your pictures to a folder of their own"
        )


def replace_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Fill a new folder beside `folder`, then put it in its place; when filling fails the old one stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        fill(new)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise


def _copy_pictures(images: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Copy all files; a link that leads nowhere, or to a folder it lies in, is left out and told."""

    def left_out(place: str, names: list[str]) -> list[str]:
        within = Path(place).resolve()
        links = [path for name in names if (path := Path(place, name)).is_symlink()]
        bad = [
            link
            for link in links
            if not link.exists() or (found := link.resolve()) == within or found in within.parents
        ]
        for link in bad:
            say(f"Left out, a link that leads to no picture: {link}")
        return [link.name for link in bad]

    try:
        shutil.copytree(images, folder, ignore=left_out)
    except shutil.Error as error:
        faults = "\n".join(f"  {fault[0]}: {fault[-1]}" for fault in error.args[0][:5])
        raise ValueError(
            f"--images: got {str(images)!r}, needed a folder whose files can all be read, "
            f"repair or remove these, nothing was changed:\n{faults}"
        ) from error
