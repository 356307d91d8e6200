"""A dataset kept as a folder: written once, found by content, and never over what somebody changed."""

import os
from pathlib import Path

import numpy as np
import pytest
from glitch_lora.dataset import kept_folder
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.kept_folder import kept_dataset

PICTURES = [np.random.default_rng(seed).integers(0, 256, (16, 24, 3), dtype=np.uint8) for seed in range(3)]
CAPTIONS = ["a red circle", "", "zwölf – 十二"]


def place(dataset) -> Path:
    (folder,) = {item.path.parent for item in dataset.items}
    return folder


def test_what_is_kept_is_what_was_given(tmp_path):
    dataset = kept_dataset(tmp_path / "new" / "root", "cats", PICTURES, CAPTIONS)
    assert [item.caption for item in dataset.items] == CAPTIONS
    for index, picture in enumerate(PICTURES):
        assert np.array_equal(np.asarray(dataset.sample(index).image), picture)
    assert dataset.items == load_folder(place(dataset)).items, "Load Dataset reads the same"
    assert [path.name for path in place(dataset).parent.iterdir()] == [place(dataset).name]


def test_the_same_is_written_once_and_anything_else_elsewhere(tmp_path):
    first = kept_dataset(tmp_path, "cats", PICTURES, CAPTIONS)
    times = {path: path.stat().st_mtime_ns for path in place(first).iterdir()}
    assert kept_dataset(tmp_path, "cats", PICTURES, CAPTIONS) == first
    assert {path: path.stat().st_mtime_ns for path in place(first).iterdir()} == times
    others = [
        kept_dataset(tmp_path, "dogs", PICTURES, CAPTIONS),
        kept_dataset(tmp_path, "cats", PICTURES[:2], CAPTIONS[:2]),
        kept_dataset(tmp_path, "cats", PICTURES, ["a blue circle", *CAPTIONS[1:]]),
        kept_dataset(tmp_path, "cats", [PICTURES[0] ^ 1, *PICTURES[1:]], CAPTIONS),
    ]
    assert len({place(each) for each in [first, *others]}) == 5


@pytest.mark.parametrize("change", ["caption", "picture", "removed", "added", "torn"])
def test_a_changed_folder_is_left_as_it_is(change, tmp_path):
    folder = place(kept_dataset(tmp_path, "cats", PICTURES, CAPTIONS))
    picture = folder / "0001.png"
    if change == "caption":
        picture.with_suffix(".txt").write_text("mine")
    elif change == "picture":
        picture.write_bytes((folder / "0002.png").read_bytes())
    elif change == "removed":
        picture.unlink()
    elif change == "added":
        (folder / "mine.png").write_bytes(picture.read_bytes())
    else:
        picture.write_bytes(picture.read_bytes()[:100])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = kept_dataset(tmp_path, "cats", PICTURES, CAPTIONS)
    assert place(again).name == f"{folder.name}-2"
    assert np.array_equal(np.asarray(again.sample(0).image), PICTURES[0])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert place(kept_dataset(tmp_path, "cats", PICTURES, CAPTIONS)) == place(again)


def test_a_write_that_fails_leaves_nothing_and_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_folder.os, "rename", full)
    with pytest.raises(OSError, match=r"cats-[0-9a-f]{12} could not be written \(No space left on device\), make room"):
        kept_dataset(tmp_path, "cats", PICTURES, CAPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_at_once_end_with_one_folder(tmp_path, monkeypatch):
    """The other process puts its folder in place while ours is being filled."""
    rename = os.rename

    def later(source, target):
        monkeypatch.setattr(kept_folder.os, "rename", rename)
        monkeypatch.setattr(kept_folder.os, "getpid", lambda: 1)
        kept_dataset(tmp_path, "cats", PICTURES, CAPTIONS)
        rename(source, target)

    monkeypatch.setattr(kept_folder.os, "rename", later)
    dataset = kept_dataset(tmp_path, "cats", PICTURES, CAPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == [place(dataset).name]
