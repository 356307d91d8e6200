"""Dataset folders: what is listed, what is allowed, and that nothing escapes.

The expectation is the file tree each test builds; ComfyUI's own folder_paths decides where input and output are.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from glitch_lora.dataset.images import readable_extensions
from glitch_lora.host.folders import (
    claim_input_folder,
    dataset_folder,
    list_dataset_folders,
    loras_folder,
    temporary_dataset_folder,
)
from PIL import Image


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ComfyUI's folders, moved into an empty place."""
    import folder_paths

    for name in ("input", "output", "temp", "datasets", "more"):
        (tmp_path / name).mkdir()
    for name in ("input", "output", "temp"):
        monkeypatch.setattr(folder_paths, f"{name}_directory", str(tmp_path / name))
    places = [str(tmp_path / "datasets"), str(tmp_path / "more")]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "datasets", (places, set()))
    return tmp_path


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def listed() -> list[str]:
    return list_dataset_folders(readable_extensions())


def test_folders_with_pictures_are_listed(roots: Path) -> None:
    for name in (
        "input/cats/a.png",
        "input/kohya/10_dog/b.JPG",
        "output/made/c.webp",
        "datasets/x/d.png",
        "more/y/e.png",
    ):
        picture(roots / name)
    for name in (
        "input/loose.png",
        "input/.hidden/f.png",
        "output/glitch_lora/run/samples/g.png",
        "input/1/2/3/4/5/h.png",
    ):
        picture(roots / name)
    (roots / "input" / "empty").mkdir()
    (roots / "input" / "texts").mkdir()
    (roots / "input" / "texts" / "a.txt").touch()
    assert listed() == [
        "datasets/x",
        "datasets/y",
        "input/cats",
        "input/kohya",
        "input/kohya/10_dog",
        "output/made",
    ]


def test_the_depth_is_limited(roots: Path) -> None:
    picture(roots / "input/1/2/3/x.png")
    picture(roots / "input/1/2/3/4/x.png")
    assert listed() == ["input/1", "input/1/2", "input/1/2/3"]
    assert dataset_folder("input/1/2/3/4") == roots / "input/1/2/3/4"


def test_changes_are_seen_and_unchanged_folders_are_not_read_again(
    roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(roots / "input/cats/a.png")
    for folder in (roots / "input/cats", roots / "input", roots / "output", roots / "datasets", roots / "more"):
        os.utime(folder, (1, 1))
    assert listed() == ["input/cats"]
    read: list[str] = []
    monkeypatch.setattr(os, "scandir", lambda place, scan=os.scandir: read.append(place) or scan(place))
    assert listed() == ["input/cats"] and read == []
    picture(roots / "input/dogs/a.png")
    assert listed() == ["input/cats", "input/dogs"]
    assert str(roots / "input/cats") not in read
    (roots / "input/cats/a.png").unlink()
    assert listed() == ["input/dogs"]


def test_names_lead_to_folders(roots: Path) -> None:
    picture(roots / "more/y/e.png")
    picture(roots / "input/a b/ü.png")
    assert dataset_folder("datasets/y") == roots / "more/y"
    assert dataset_folder("input/a b") == roots / "input/a b"
    assert loras_folder() == roots / "output/loras"
    assert temporary_dataset_folder().is_relative_to(roots / "temp")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "input",
        "input/",
        "input/..",
        "input/../output",
        "input//x",
        "/etc",
        "C:\\x",
        "input/x\0y",
        "loras/x",
        "input/gone",
    ]
    + ["input/./cats", "..\\input\\cats", "input\\..\\..\\secret", None, 7],
)
def test_anything_else_is_refused_by_name(roots: Path, name: object) -> None:
    picture(roots / "input/cats/a.png")
    picture(roots / "secret/a.png")
    with pytest.raises(ValueError) as error:
        dataset_folder(name)
    assert f"folder: got {name!r}, allowed are folders under" in str(error.value)


def test_links_that_lead_out_are_neither_listed_nor_allowed(roots: Path) -> None:
    picture(roots / "secret/a.png")
    picture(roots / "input/real/a.png")
    try:
        (roots / "input" / "out").symlink_to(roots / "secret")
        (roots / "input" / "in").symlink_to(roots / "input" / "real")
        (roots / "input" / "loop").symlink_to(roots / "input")
    except OSError:
        pytest.skip("links cannot be made here")
    assert "input/out" not in listed() and {"input/in", "input/real"} <= set(listed())
    with pytest.raises(ValueError, match="input/out"):
        dataset_folder("input/out")


def test_claimed_names_are_new_whatever_the_case(roots: Path) -> None:
    (roots / "input" / "Dogs").mkdir()
    assert [claim_input_folder("dogs") for _ in range(3)] == ["dogs-2", "dogs-3", "dogs-4"]
    assert [claim_input_folder(" ..") for _ in range(2)] == ["dataset-1", "dataset-2"]
    assert all((roots / "input" / name).is_dir() for name in ("dogs-2", "dogs-4", "dataset-2"))
    assert listed() == []  # a folder without pictures is no dataset


def test_claims_at_the_same_time_get_different_names(roots: Path) -> None:
    """Each thread has seen an empty input folder; only making the folder tells them apart."""
    with ThreadPoolExecutor(16) as pool:
        names = list(pool.map(claim_input_folder, ["cats"] * 64))
    assert len(set(names)) == 64
    assert sorted(path.name for path in (roots / "input").iterdir()) == sorted(names)


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("../../etc", "etc"),
        ("<a:b>", "a-b"),
        ("CON", "dataset-CON"),
        ("nul.tar", "dataset-nul.tar"),
        ("com1", "dataset-com1"),
        ("LPT9 ", "dataset-LPT9"),
        ("console", "console"),
        ("猫" * 200, "猫" * 33),
    ],
)
def test_claimed_names_are_allowed_everywhere(roots: Path, wish: str, name: str) -> None:
    assert claim_input_folder(wish) == name
    assert [path.name for path in (roots / "input").iterdir()] == [name]


def test_listing_many_folders_is_cheap(roots: Path) -> None:
    """ComfyUI asks for the list at every link of a graph."""
    import time

    for number in range(200):
        picture(roots / f"input/set{number}/a.png")
    assert len(listed()) == 200
    start = time.perf_counter()
    for _ in range(10):
        listed()
    assert (time.perf_counter() - start) / 10 < 0.1


def test_datasets_are_saved_below_the_roots_and_nowhere_else(roots: Path) -> None:
    from itertools import islice

    from glitch_lora.host.folders import saved_dataset_places

    def names(root: str, wish: str) -> list[str]:
        return [path.relative_to(roots).as_posix() for path in islice(saved_dataset_places(root, wish), 2)]

    assert names("output", "cats") == ["output/cats", "output/cats-2"]
    assert names("datasets", "../a.png") == ["datasets/a-png", "datasets/a-png-2"]
    assert names("output", "glitch_lora") == ["output/glitch_lora-2", "output/glitch_lora-3"]
    assert names("output", "CON") == ["output/dataset-CON", "output/dataset-CON-2"]
    with pytest.raises(ValueError, match="place: got 'input', allowed"):
        names("input", "cats")


@pytest.mark.parametrize(
    ("there", "told"),
    [([], "which hold none yet, train or copy"), (["a.safetensors"], "names such as a.safetensors, r")],
)
def test_a_lora_that_is_not_there_is_refused_in_whole_sentences(
    there: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glitch_lora.host import lora_files

    monkeypatch.setattr(lora_files, "lora_files", lambda: there)
    with pytest.raises(ValueError, match=told):
        lora_files.lora_path("(no LoRA files yet)")
