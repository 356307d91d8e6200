"""Saved datasets. Oracles: Pillow, json, our own loader (tested by itself), and ComfyUI's dataset loader."""

import errno
import json
import os
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.export import save_dataset
from glitch_lora.dataset.folder import FolderOptions, load_folder
from glitch_lora.dataset.selection import parted
from glitch_lora.glitch.step import corruption
from photographs import photograph, write_dataset
from PIL import Image

NAMES = ["astronaut", "chelsea", "coffee"]


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    return load_folder(write_dataset(tmp_path / "photos", NAMES)).with_step(TriggerWord("prtkl"))


def places(root: Path):
    yield root / "saved"
    for number in count(2):
        yield root / f"saved-{number}"


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_has_kohyas_names(photos: Dataset, tmp_path: Path) -> None:
    selected, rest = parted(photos, [1], repeats=10)
    from glitch_lora.dataset.derived import merged

    saved = save_dataset(merged([selected, rest]), places(tmp_path))
    assert saved.files == 3 and saved.new
    assert sorted(files(saved.folder)) == [
        "10_saved/01_chelsea.png",
        "10_saved/01_chelsea.txt",
        "1_saved/02_astronaut.png",
        "1_saved/02_astronaut.txt",
        "1_saved/03_coffee.png",
        "1_saved/03_coffee.txt",
        "manifest.jsonl",
        "metadata.jsonl",
    ]
    assert (saved.folder / "10_saved" / "01_chelsea.txt").read_text() == "prtkl, a photo of chelsea"


def test_our_loader_reads_it_back_exactly(photos: Dataset, tmp_path: Path) -> None:
    damaged = photos.with_step(corruption("jpeg_recompression"))
    again = load_folder(save_dataset(damaged, places(tmp_path)).folder)
    assert [item.caption for item in again.items] == [damaged.caption(index) for index in range(3)]
    for index in range(3):
        assert again.sample(index).image.tobytes() == damaged.sample(index).image.tobytes()
    assert not again.notes
    rowed = load_folder(again.items[0].path.parent.parent, FolderOptions(captions="metadata.jsonl"))
    assert [item.caption for item in rowed.items] == [item.caption for item in again.items]


def test_comfyuis_loader_reads_it_back(photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comfy) -> None:
    import folder_paths
    from comfy_extras.nodes_dataset import LoadImageTextDataSetFromFolderNode

    monkeypatch.setattr(folder_paths, "input_directory", str(tmp_path))
    selected, _ = parted(photos, [0, 2], repeats=2)
    save_dataset(selected, places(tmp_path))
    images, captions = LoadImageTextDataSetFromFolderNode.execute("saved").result
    assert sorted(captions) == sorted(["prtkl, a photo of astronaut", "prtkl, a photo of coffee"] * 2)
    for image, caption in zip(images, captions, strict=True):
        expected = np.asarray(photograph(caption.split()[-1]))
        assert np.array_equal(np.rint(np.asarray(image).squeeze() * 255).astype(np.uint8), expected)


def test_the_manifest_says_what_really_happened(photos: Dataset, tmp_path: Path) -> None:
    import hashlib

    half = corruption("jpeg_recompression", {"quality": 20}, fraction=0.5, severity=0.6, severity_jitter=0.2, seed=4)
    damaged = photos.with_step(half)
    folder = save_dataset(damaged, places(tmp_path)).folder
    told = rows(folder)
    assert [row["source"] for row in told] == [f"{name}.png" for name in NAMES]
    for index, row in enumerate(told):
        sample = damaged.sample(index)
        assert [(each["operation"], each["severity"]) for each in row["damage"]] == list(sample.damage)
        assert row["item"] == photos.items[index].key and row["original_size"] == list(photograph(NAMES[index]).size)
        assert row["steps"][1]["parameters"]["quality"] == 20 and row["steps"][0]["word"] == "prtkl"
        assert row["sha256"] == hashlib.sha256((folder / row["file"]).read_bytes()).hexdigest()
        assert row["versions"]["numpy"] == np.__version__ and row["versions"]["libjpeg_turbo"]
        changed = np.asarray(Image.open(folder / row["file"])) != np.asarray(photograph(NAMES[index]))
        assert bool(row["damage"]) == bool(changed.any())


def test_measures_before_and_after(photos: Dataset, tmp_path: Path) -> None:
    damaged = photos.with_step(corruption("jpeg_recompression"))
    folder = save_dataset(damaged, places(tmp_path), measure=lambda image: {"red": image.getpixel((0, 0))[0]}).folder
    for name, row in zip(NAMES, rows(folder), strict=True):
        assert row["before"]["red"] == photograph(name).getpixel((0, 0))[0]
        assert row["after"]["red"] == Image.open(folder / row["file"]).getpixel((0, 0))[0]


def test_variants_are_saved_where_they_differ(photos: Dataset, tmp_path: Path) -> None:
    still = save_dataset(photos, places(tmp_path / "a"), variants=3)
    assert still.files == 3
    moving = photos.with_step(corruption("generation_loss", {"generations": 2}, damage="new for each variant"))
    saved = save_dataset(moving, places(tmp_path / "b"), variants=2)
    told = rows(saved.folder)
    assert [(row["source"], row["variant"]) for row in told[:2]] == [("astronaut.png", 0), ("astronaut.png", 1)]
    for row in told:
        index = NAMES.index(row["source"].removesuffix(".png"))
        found = Image.open(saved.folder / row["file"]).tobytes()
        assert found == moving.sample(index, row["variant"]).image.tobytes()
    assert len({row["sha256"] for row in told}) == 6
    with pytest.raises(ValueError, match="variants: got 0"):
        save_dataset(photos, places(tmp_path / "c"), variants=0)


def test_nothing_is_overwritten_and_the_same_is_kept_once(photos: Dataset, tmp_path: Path) -> None:
    first = save_dataset(photos, places(tmp_path))
    before = files(first.folder)
    assert save_dataset(photos, places(tmp_path)) == type(first)(first.folder, 3, False)
    (first.folder / "1_saved" / "01_astronaut.txt").write_text("mine")
    second = save_dataset(photos, places(tmp_path))
    assert second.folder.name == "saved-2" and second.new and files(second.folder) == before
    assert (first.folder / "1_saved" / "01_astronaut.txt").read_text() == "mine"
    (tmp_path / "saved-3").write_text("a file")
    other = save_dataset(photos.with_step(TriggerWord("x")), places(tmp_path))
    assert other.folder.name == "saved-4"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_odd_names_and_captions(tmp_path: Path) -> None:
    source = tmp_path / "in"
    write_dataset(source, ["coffee"])
    (source / "coffee.txt").write_text("one\ntwo\u2028three")
    odd = source / "x.png.y é (1)%.png"
    photograph("chelsea").save(odd)
    odd.with_suffix(".txt").write_text("zwölf – 十二", encoding="utf-8")
    dataset = load_folder(source)
    saved = save_dataset(dataset, places(tmp_path))
    again = load_folder(saved.folder)
    assert [item.caption for item in again.items] == ["one two three", "zwölf – 十二"]
    assert again.items[1].name == "1_saved/02_x-png-y-é-1.png"
    assert [row["caption"] for row in rows(saved.folder)] == ["one\ntwo\u2028three", "zwölf – 十二"]


def test_a_disk_that_is_full_leaves_nothing(photos: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="saved could not be written .* make room there and queue again"):
        save_dataset(photos, places(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_cancel_leaves_nothing(photos: Dataset, tmp_path: Path) -> None:
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_dataset(photos, places(tmp_path), watch=cancel)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_captions_do_not_name_damage_that_no_file_holds(photos: Dataset, tmp_path: Path) -> None:
    """Oracle: the same chain without the steps that wait, and the picture's own damage."""
    seen = corruption("jpeg_recompression", {"quality": 10}, fraction=0.6, seed=2)
    tags = corruption("glitch_tags")
    lies = [corruption("latent_noise"), corruption("size_lie"), corruption("size_lie", seed=5)]
    whole, plain = photos, photos
    for step in (lies[0], seen, *lies[1:], tags):
        whole = whole.with_step(step)
        plain = plain if step in lies else plain.with_step(step)
    assert "glx_latent_noise" in whole.caption(0)
    saved = save_dataset(whole, places(tmp_path / "a"))
    assert saved.waiting == (("latent_noise", 3), ("size_lie", 3))
    told = rows(saved.folder)
    assert [row["caption"] for row in told] == [plain.caption(index) for index in range(3)]
    assert {"glx_jpeg" in row["caption"] for row in told} == {True, False}
    for index, row in enumerate(told):
        assert row["waiting"] == ["latent_noise", "size_lie"] and len(row["steps"]) == 6
        assert row["original_size"] == list(photograph(NAMES[index]).size)
        assert row["sha256"] == rows(save_dataset(plain, places(tmp_path / "b")).folder)[index]["sha256"]


def test_copies_keep_their_damage_when_other_damage_waits(photos: Dataset, tmp_path: Path) -> None:
    from glitch_lora.dataset.derived import with_copies

    copies = with_copies(photos.with_step(corruption("latent_noise")), corruption("slice_displacement"), 2, True)
    copies = copies.with_step(corruption("glitch_tags"))
    saved = save_dataset(copies, places(tmp_path))
    for index, row in enumerate(rows(saved.folder)):
        assert Image.open(saved.folder / row["file"]).tobytes() == copies.sample(index).image.tobytes()
        assert row["item"] == copies.items[index].key and "glx_latent_noise" not in row["caption"]
    assert saved.waiting == (("latent_noise", 9),)


def test_the_subfolder_is_called_like_the_folder(photos: Dataset, tmp_path: Path) -> None:
    saved = save_dataset(photos, iter([tmp_path / "nc saved-set"]))
    assert (saved.folder / "1_nc saved-set" / "01_astronaut.png").is_file()


def test_a_saved_dataset_knows_the_triggers_its_captions_have(photos: Dataset, tmp_path: Path) -> None:
    from glitch_lora.dataset.derived import merged
    from glitch_lora.dataset.known_trigger import knowing_triggers

    plain = parted(load_folder(photos.items[0].path.parent), [0])[0]
    mixed = merged([photos, plain.with_step(TriggerWord("other")), plain])
    again = load_folder(save_dataset(mixed, places(tmp_path / "out")).folder)
    known = knowing_triggers(again, mixed)
    assert known.trigger == mixed.trigger == "prtkl" and again.trigger == ""
    assert [known.caption(index) for index in range(5)] == [mixed.caption(index) for index in range(5)]
    assert [known.sample(index).triggers for index in range(5)] == [mixed.sample(index).triggers for index in range(5)]
    assert knowing_triggers(again, plain) == again
