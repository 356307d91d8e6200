"""The audit of a dataset. Oracles: photographs known to be clean, defects made by Pillow, libjpeg's own tables."""

import csv
import io
import time
from pathlib import Path

import numpy as np
import pytest
from glitch_lora.dataset.audit import Audit, audit
from glitch_lora.dataset.audit_captions import caption_findings, has_colour
from glitch_lora.dataset.audit_colours import append_colours, colour_name, main_colours
from glitch_lora.dataset.audit_copies import copies
from glitch_lora.dataset.audit_facts import Facts, examine, examine_all
from glitch_lora.dataset.audit_finding import KINDS
from glitch_lora.dataset.audit_jpeg import missing_steps, table_quality
from glitch_lora.dataset.audit_pictures import defects
from glitch_lora.dataset.audit_report import audit_report, audit_sheets, audit_table
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.derived import merged, with_copies
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.images import BrokenImage
from glitch_lora.glitch.step import corruption
from glitch_lora.metrics.planes import lab
from photographs import _FILES, photograph, write_dataset
from PIL import Image, ImageDraw, ImageOps
from planted_defects import planted

CLEAN = sorted(_FILES)


def pairs(found: Audit, *severities: str) -> set[tuple[str, str]]:
    """Return (file, kind) of the findings of single items."""
    wanted = severities or ("defect", "warning", "advice")
    return {(one.name, one.kind) for one in found.findings if one.name and one.severity in wanted}


def saved(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def named(dataset: Dataset) -> list[str]:
    return [item.name for item in dataset.items]


def test_clean_photographs_raise_no_alarm(tmp_path: Path) -> None:
    found = audit(load_folder(write_dataset(tmp_path, CLEAN)))
    assert not pairs(found)
    assert {one.kind for one in found.findings} <= {kind for kind, about in KINDS.items() if about.of == "dataset"}
    assert "0 defects, 0 warnings" in audit_report(found)


def test_every_planted_defect_is_found_and_nothing_else(tmp_path: Path) -> None:
    truth = planted(tmp_path / "planted", count=48, of_each=1, seed=5)
    found = audit(load_folder(tmp_path / "planted"), "prtkl")
    assert pairs(found) == {(name, kind) for name, kinds in truth.items() for kind in kinds}
    assert len({kind for _, kind in pairs(found)}) >= 17 and sum(not kinds for kinds in truth.values()) >= 20


@pytest.mark.parametrize("quality", [1, 10, 35, 50, 75, 92, 100])
def test_the_quality_of_a_jpeg_is_read_off_its_tables(tmp_path: Path, quality: int) -> None:
    photograph("coffee").save(tmp_path / "a.jpg", quality=quality)
    with Image.open(tmp_path / "a.jpg") as image:
        assert abs((table_quality(image) or 0) - quality) <= 1
    photograph("coffee").save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert table_quality(image) is None


@pytest.mark.parametrize("name", ["astronaut", "camera", "chelsea", "grass", "gravel", "hubble", "motorcycle"])
def test_a_recompressed_picture_is_told_from_a_clean_one_whatever_its_texture(name: str) -> None:
    image = photograph(name)
    shifted = saved(image, 40).crop((3, 5, image.width, image.height))  # the grid need not start in the corner
    assert missing_steps(np.asarray(image)) > 0.5
    assert missing_steps(np.asarray(saved(image, 85))) > 0.2
    assert missing_steps(np.asarray(saved(image, 40))) < 0.15 and missing_steps(np.asarray(shifted)) < 0.15
    assert missing_steps(np.zeros((64, 64, 3), np.uint8)) == 1.0


def test_copies_are_found_whatever_was_done_to_them(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["chelsea", "coffee", "rocket", "grass", "motorcycle"])
    coffee = photograph("coffee")
    coffee.resize((300, 200)).save(tmp_path / "small.png")
    ImageOps.mirror(coffee).save(tmp_path / "mirrored.png")
    saved(coffee, 85).save(tmp_path / "again.png")
    coffee.save(tmp_path / "same.png")
    photograph("rocket").crop((6, 6, 634, 421)).resize((900, 600)).save(tmp_path / "zoom.png")
    found = audit(load_folder(tmp_path))
    copies = {one.name: (one.kind, one.detail) for one in found.findings if "duplicate" in one.kind}
    assert copies["same.png"] == ("exact duplicate", "the same file as coffee.png")
    assert set(copies) == {"same.png", "small.png", "mirrored.png", "again.png", "rocket.png"}  # the largest is kept
    assert "like coffee.png mirrored" in copies["mirrored.png"][1] and "like zoom.png" in copies["rocket.png"][1]


def test_blank_pictures_are_no_copies_of_each_other(tmp_path: Path) -> None:
    for number, colour in enumerate(("red", "blue", "white")):
        Image.new("RGB", (300, 300), colour).save(tmp_path / f"{number}.png")
    found = audit(load_folder(tmp_path))
    assert {kind for _, kind in pairs(found)} == {"blank", "no caption"}


def test_copies_of_an_item_that_are_meant_are_no_duplicates(tmp_path: Path) -> None:
    dataset = load_folder(write_dataset(tmp_path / "a", ["chelsea", "coffee"]))
    several = with_copies(dataset, corruption("generation_loss"), copies=3, keep_clean=True)
    assert not [one for one in audit(several).findings if "duplicate" in one.kind or one.severity != "advice"]
    other = load_folder(write_dataset(tmp_path / "b", ["coffee"]))
    (copy,) = [one for one in audit(merged([several, other])).findings if "duplicate" in one.kind]
    assert (copy.kind, copy.index) == ("exact duplicate", len(several))


def test_pictures_are_judged_before_captions_after_the_chain(tmp_path: Path) -> None:
    dataset = load_folder(write_dataset(tmp_path, ["chelsea", "coffee"]))
    chained = dataset.with_step(corruption("jpeg_recompression", {"quality": 1})).with_step(TriggerWord("prtkl"))
    found = audit(chained)
    assert found.trigger == "prtkl" and not pairs(found)
    assert {kind for _, kind in pairs(audit(chained, "other"))} == {"no trigger"}


def test_dropping_copies_keeps_the_best_with_its_caption(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["coffee", "chelsea"])
    photograph("coffee").resize((300, 200)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a small cup")
    photograph("coffee").save(tmp_path / "z.png")
    (tmp_path / "z.txt").write_text("the same cup")
    found = audit(load_folder(tmp_path))
    assert named(found.repaired(duplicates="keep")) == ["a.png", "chelsea.png", "coffee.png", "z.png"]
    assert named(found.repaired(duplicates="drop exact")) == ["a.png", "chelsea.png", "coffee.png"]
    left = found.repaired(duplicates="drop exact and near")
    assert [left.caption(index) for index in range(2)] == ["a photo of chelsea", "a photo of coffee"]


def test_dropping_defects_spares_what_loading_and_caption_nodes_repair(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["coffee"])
    photograph("camera").convert("L").save(tmp_path / "grey.png")
    photograph("chelsea").resize((90, 60)).save(tmp_path / "tiny.png")
    photograph("rocket").resize((1200, 300)).save(tmp_path / "wide.png")
    found = audit(load_folder(tmp_path))
    assert {kind for _, kind in pairs(found)} == {"greyscale", "tiny", "extreme shape", "no caption"}
    assert named(found.repaired("defects")) == ["coffee.png", "grey.png", "wide.png"]
    assert named(found.repaired("defects and warnings")) == ["coffee.png", "grey.png"]
    assert found.flagged(["tiny"]) == [2] and found.flagged() == [1, 2, 3]


def test_measured_colours_go_to_captions_that_name_none(tmp_path: Path) -> None:
    for name, colour, text in (("a", "#d81e1e", "a wall"), ("b", "#2850d0", "a sea"), ("c", "#2f9e3a", "a white lie")):
        image = Image.new("RGB", (300, 300), colour)
        ImageDraw.Draw(image).rectangle((0, 0, 300, 90), fill="#f5e02a")
        image.save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text(text)
    dataset = load_folder(tmp_path)
    repaired = audit(dataset).repaired(colours=True)
    captions = [repaired.caption(index) for index in range(3)]
    assert captions == ["a wall, red, yellow", "a sea, blue, yellow", "a white lie"]
    assert [repaired.sample(index).caption for index in range(3)] == captions
    assert repaired.fingerprint != dataset.fingerprint
    assert repaired.with_step(TriggerWord("x")).caption(0) == "x, a wall, red, yellow"
    assert append_colours({"k": ["red"]}).describe() != append_colours({"k": ["blue"]}).describe()


def test_colours_have_their_names() -> None:
    for name, colour in {
        "red": (220, 20, 30),
        "navy": (10, 20, 90),
        "white": (252, 252, 250),
        "grey": (130, 128, 126),
    }.items():
        assert colour_name(lab(np.array([[colour]], np.uint8))[0, 0]) == name
    assert main_colours(np.full((64, 64, 3), 255, np.uint8)) == ["white"]


def drawing(background: str, ink: str, seed: int) -> Image.Image:
    """Return dots on a plain page, as in a dataset of one style."""
    image = Image.new("RGB", (320, 320), background)
    draw = ImageDraw.Draw(image)
    for left, top in np.random.default_rng(seed).integers(60, 240, (60, 2)).tolist():
        draw.ellipse((left, top, left + 14, top + 14), fill=ink)
    return image


def test_an_odd_background_is_named(tmp_path: Path) -> None:
    for number in range(8):
        drawing("#0a1440" if number == 3 else "white", "black", number).save(tmp_path / f"{number}.png")
    found = audit(load_folder(tmp_path))
    (odd,) = [one for one in found.findings if one.kind == "odd background"]
    assert odd.name == "3.png" and odd.detail == "navy, those of the others are white"
    assert not [
        kind for _, kind in pairs(found) if kind in ("overexposed", "near duplicate", "heavily compressed", "blank")
    ]


def test_an_odd_palette_is_named_where_the_others_share_one(tmp_path: Path) -> None:
    for number in range(8):
        drawing("white", "#2850d0" if number == 5 else "black", number).save(tmp_path / f"{number}.png")
    found = audit(load_folder(tmp_path))
    (odd,) = [one for one in found.findings if one.kind == "odd palette"]
    assert odd.name == "5.png" and odd.detail.startswith("white, blue, ")
    assert "Plain backgrounds: 8 of 8: white 8." in audit_report(found)


def test_backgrounds_of_many_colours_are_told_once(tmp_path: Path) -> None:
    for number, colour in enumerate(("white", "#d81e1e", "#2850d0", "#2f9e3a", "black", "#f5e02a")):
        drawing(colour, "grey", number).save(tmp_path / f"{number}.png")
    kinds = [one.kind for one in audit(load_folder(tmp_path)).findings]
    assert kinds.count("mixed backgrounds") == 1 and "odd background" not in kinds


def test_captions() -> None:
    def kinds(captions: list[str], trigger: str = "") -> dict[str, list[int | None]]:
        found: dict[str, list[int | None]] = {}
        for one in caption_findings(captions, [str(n) for n in range(len(captions))], trigger):
            found.setdefault(one.kind, []).append(one.index)
        return found

    good = [f"prtkl, a {colour} {thing}" for colour in ("red", "Blue") for thing in ("cat", "dog", "house", "tree")]
    assert kinds(good, "prtkl") == {}
    assert kinds([*good, "prtkl", " ", "a red prtklish cat"], "prtkl") == {
        "no caption": [8, 9],
        "no trigger": [9, 10],
        "no colour words": [8, 9],
    }
    assert kinds(["a cat", "a dog", "a red cow"]) == {"captions without colours": [None]}
    assert kinds([f"{caption} on canvas" for caption in good], "prtkl") == {"fused words": [None]}
    assert has_colour("A Blue-ish, blue thing") and not has_colour("redder than blues")
    assert kinds([]) == {}


def test_variety_and_number_are_advice(tmp_path: Path) -> None:
    image = photograph("astronaut")
    for number in range(20):
        image.crop((number * 3, 0, number * 3 + 400, 400)).rotate(number).save(tmp_path / f"{number:02}.png")
    kinds = {one.kind for one in audit(load_folder(tmp_path)).findings if one.severity == "advice"}
    assert "little variety" in kinds and "few pictures" not in kinds


def test_a_file_that_broke_after_loading_is_told(tmp_path: Path) -> None:
    dataset = load_folder(write_dataset(tmp_path, ["coffee", "chelsea", "rocket"]))
    (tmp_path / "coffee.png").write_text("no picture any more")
    (tmp_path / "rocket.png").unlink()
    found = audit(dataset)
    assert pairs(found, "defect") == {("coffee.png", "unreadable"), ("rocket.png", "unreadable")}
    assert found.facts[1] is None and "cannot be read" in audit_report(found)
    assert len(audit_sheets(found, cell=64)) == 1
    with pytest.raises(BrokenImage, match="cannot be read"):
        examine(tmp_path / "rocket.png")


def test_an_empty_dataset_is_only_told_to_be_small(tmp_path: Path) -> None:
    found = audit(Dataset((), broken=(("a.png", "is torn"),)))
    assert [one.kind for one in found.findings] == ["unreadable", "few pictures"]
    assert audit_sheets(found) == [] and "a.png: is torn" in audit_report(found)


def test_what_was_measured_is_remembered_until_the_file_changes(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["coffee"])
    path = tmp_path / "coffee.png"
    first = examine(path)
    assert examine(path) is first and examine(path, (0, 0, 0)) is not first
    photograph("chelsea").save(path)
    assert examine(path).size == (451, 300)
    seen: list[tuple[int, int]] = []
    examine_all([(path, (255, 255, 255))] * 3, lambda *told: seen.append(told))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_thresholds_say_what_they_saw() -> None:
    hashes = (np.zeros(64, bool), np.zeros(64, bool))
    thumb = np.zeros((64, 64, 3), np.uint8)
    clean = Facts((512, 512), "RGB", False, None, 1.0, 1.0, 0.4, 10, 240, hashes, thumb)
    assert list(defects(clean)) == [] and [kind for kind, _ in defects(clean, 640)] == ["tiny"]


def test_table_and_sheet(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["chelsea", "coffee"])
    photograph("coffee").save(tmp_path / "z.png")
    (tmp_path / "bad|name.png").write_text("x")
    found = audit(load_folder(tmp_path))
    rows = list(csv.DictReader(io.StringIO(audit_table(found))))
    assert [row["name"] for row in rows[:2]] == ["bad|name.png", "z.png"] and rows[1]["number"] == "3"
    assert "bad\\|name.png" in audit_table(found, markdown=True)
    (page,) = audit_sheets(found, columns=3, cell=96)
    assert page.getpixel((11, 11)) == (239, 68, 68), "the flagged picture comes first, in red"
    assert page.getpixel((12 + 108, 12 + 4)) == (24, 24, 27), "the others have no frame"


def test_thousands_of_pictures_are_compared_in_seconds() -> None:
    """Three thousand frames of one film: every pair is a copy."""
    rng = np.random.default_rng(0)
    bits, thumb = rng.random(64) < 0.5, rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    facts = [Facts((512, 512), "RGB", False, None, 1, 1, 0.4, 10, 240, (bits, ~bits), thumb) for _ in range(3000)]
    started = time.process_time()
    found = copies([str(number) for number in range(3000)], facts, lambda index: (-index,))
    assert len(found) == 2999 and {copy.of for copy in found} == {0}
    assert time.process_time() - started < 10
