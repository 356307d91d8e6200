"""Write the demo's dataset: eight real photographs that scikit-image carries, each with a caption file beside it.

Run by the environment's Python: ``python scripts/demo_photographs.py FOLDER``.
"""

import shutil
import sys
from pathlib import Path

CAPTIONS = {
    "astronaut.png": "portrait of a smiling astronaut in an orange suit in front of a flag",
    "chelsea.png": "close-up of a ginger tabby cat with green eyes",
    "coffee.png": "a white cup of espresso on a saucer with a spoon on a wooden table",
    "rocket.jpg": "a rocket on its launch pad at dusk",
    "motorcycle_left.png": "a red and black motorcycle parked in a garage",
    "hubble_deep_field.jpg": "galaxies of many colours on the black sky",
    "grass.png": "a meadow of thick grass seen from above, black and white",
    "brick.png": "a weathered brick wall, black and white",
}


def write_photographs(folder: Path) -> Path:
    """Write pictures and captions into the folder (made if missing) and return it."""
    import skimage.data

    source = Path(skimage.data.__file__).parent
    folder.mkdir(parents=True, exist_ok=True)
    for name, caption in CAPTIONS.items():
        shutil.copyfile(source / name, folder / name)
        (folder / name).with_suffix(".txt").write_text(caption + "\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    print(write_photographs(Path(sys.argv[1])))
