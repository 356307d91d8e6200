"""Files in ComfyUI's model folders, by the names that its menus list."""

from collections.abc import Sequence
from pathlib import Path

import folder_paths


def listed_file(folder: str, name: str, names: Sequence[str], what: str, bring: str) -> Path:
    """Return where the file called `name` is. Raises ValueError for one that is not among `names`.

    folder: ComfyUI's word for the folders, such as "loras". names: those that can be read. what: the input it came
    from. bring: what to do while there is none.
    """
    path = folder_paths.get_full_path(folder, name) if name in names else None
    if path is None:
        some = ", ".join(names[:5])
        allowed = f"names such as {some}" if some else f"files in ComfyUI's {folder} folders, which hold none yet"
        do = "refresh (R) and choose one" if some else f"{bring} there, refresh (R) and choose it"
        raise ValueError(f"{what}: got {name!r}, allowed are {allowed}, {do}")
    return Path(path)
