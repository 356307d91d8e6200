"""The gallery shows every operation. Oracle: the registry, and the photographs as scikit-image carries them."""

import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import get_args

import gallery
import numpy as np
import pytest
from glitch_lora.glitch.registry import Subject, all_operations, find_operation
from photographs import photograph
from PIL import Image, ImageOps

LARGEST = 4_000_000  # bytes of the whole folder


def families() -> dict[str, list]:
    return {name: list(members) for name, members in groupby(all_operations(), lambda operation: operation.family)}


def test_the_page_is_the_registrys() -> None:
    text = (gallery.FOLDER / "README.md").read_text(encoding="utf-8")
    assert text == gallery.page(), "run python3 scripts/gallery.py"
    for subject in get_args(Subject):
        for operation in all_operations(subject):
            assert f"| `{operation.name}` |" in text
            assert all(f"`{parameter.name}` " in text for parameter in operation.parameters)


def test_the_index_leads_to_every_title() -> None:
    """Oracle: GitHub's rule for the names of titles: in small letters, spaces to hyphens, later twins numbered."""
    text = (gallery.FOLDER / "README.md").read_text(encoding="utf-8")
    places: list[str] = []
    for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        name = title.lower().replace(" ", "-")
        twins = sum(re.fullmatch(rf"{name}(-\d+)?", place) is not None for place in places)
        places.append(f"{name}-{twins}" if twins else name)
    assert re.findall(r"\]\(#(.*?)\)", text) == places[1:] and len(set(places)) == len(places)


def test_a_table_has_the_columns_that_its_operations_have() -> None:
    text = (gallery.FOLDER / "README.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}
    assert "| distance |" in rows["overlay"] and "`glx_stamp`" in rows["overlay"]
    assert not [name for name, line in rows.items() if line.endswith("|  |")]
    assert not [name for name, line in rows.items() if name.startswith(("lora_", "activation_")) and "glx_" in line]


def test_each_family_has_a_sheet_with_a_row_for_each_of_its_operations() -> None:
    text = (gallery.FOLDER / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"!\[.*?\]\((.*?)\)", text))
    assert linked == {gallery.sheet_name(family) for family in families()}
    assert linked == {path.name for path in gallery.FOLDER.glob("*.jpg")}
    for family, members in families().items():
        with Image.open(gallery.FOLDER / gallery.sheet_name(family)) as sheet:
            assert sheet.height == len(members) * (gallery.SIDE + gallery.TITLE), family


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in gallery.FOLDER.iterdir()) < LARGEST


def test_a_row_is_two_photographs_clean_and_ever_more_damaged() -> None:
    row = gallery.cells(find_operation("swirl"))
    assert [severity for _, severity in row] == 2 * list(gallery.SEVERITIES)
    for first, name in ((0, "chelsea"), (4, "astronaut")):
        clean = ImageOps.fit(photograph(name), (gallery.SIDE, gallery.SIDE), Image.Resampling.LANCZOS)
        pictures = [np.asarray(picture, float) for picture, _ in row[first : first + 4]]
        apart = [np.abs(picture - np.asarray(clean, float)).mean() for picture in pictures]
        assert apart[0] == 0 and apart == sorted(set(apart))


def test_a_sheet_holds_its_pictures() -> None:
    operations = [find_operation("solarise"), find_operation("swirl")]
    sheet = gallery.draw_sheet(operations)
    step = gallery.SIDE + gallery.GAP
    top = gallery.SIDE + 2 * gallery.TITLE
    for column, (picture, _) in enumerate(gallery.cells(operations[1])):
        left = gallery.GAP + column * step
        assert sheet.crop((left, top, left + gallery.SIDE, top + gallery.SIDE)).tobytes() == picture.tobytes()


def test_a_cell_of_a_table_stays_one() -> None:
    assert gallery._cell("a|b\nc") == "a\\|b c"


@pytest.mark.slow
def test_one_operation_draws_one_sheet_and_the_page(tmp_path: Path) -> None:
    script = Path(gallery.__file__)
    environment = os.environ | {"GLITCH_IN_ENVIRONMENT": "1"}
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, str(script), "--operation", "swirl", "--to", str(tmp_path)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "warp.jpg"}
