"""A folder on disk as a dataset: order, captions, repeats, broken files, hold-out.

The folders are written with ordinary tools (Pillow, text files, json), so each expectation is what was put there.
"""

import json
import os
from pathlib import Path

import pytest
from glitch_lora.dataset.folder import FolderOptions, folder_state, load_folder, split_dataset
from hypothesis import given
from hypothesis import strategies as st
from photographs import photograph, write_dataset
from PIL import Image


def picture(path: Path, colour: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 24), colour).save(path)


def names(folder: Path, **options) -> list[str]:
    return [item.name for item in load_folder(folder, FolderOptions(**options)).items]


def test_pictures_are_sorted_by_their_relative_path(tmp_path: Path) -> None:
    for name in ("b.png", "a10.png", "a2.png", "sub/a.png", "B.JPG", ".hidden.png", "._a2.png"):
        picture(tmp_path / name)
    (tmp_path / "notes.md").write_text("no picture")
    assert names(tmp_path) == ["B.JPG", "a10.png", "a2.png", "b.png", "sub/a.png"]
    assert names(tmp_path, recursive=False) == ["B.JPG", "a10.png", "a2.png", "b.png"]


def test_kohya_folder_names_give_repeats(tmp_path: Path) -> None:
    for name in ("10_cat/a.png", "3_dog/deep/b.png", "0_off/c.png", "plain/d.png", "top.png"):
        picture(tmp_path / name, "red" if "a" in name else "blue")
    repeats = {item.name: item.repeats for item in load_folder(tmp_path).items}
    assert repeats == {"10_cat/a.png": 10, "3_dog/deep/b.png": 3, "plain/d.png": 1, "top.png": 1}
    assert names(tmp_path, recursive=False) == ["10_cat/a.png", "top.png"]
    inside = load_folder(tmp_path / "10_cat")
    assert inside.items[0].repeats == 10 and inside.entries == (0,) * 10


def test_a_date_in_a_folder_name_is_no_number_of_repeats(tmp_path: Path) -> None:
    for name in ("20240512_trip/a.png", "999_dog/b.png", "1000_cats/c.png"):
        picture(tmp_path / name, f"hsl({len(name) * 15}, 90%, 50%)")
    dataset = load_folder(tmp_path)
    assert [(item.name, item.repeats) for item in dataset.items] == [
        ("1000_cats/c.png", 1),
        ("20240512_trip/a.png", 1),
        ("999_dog/b.png", 999),
    ]
    told = [line for line in dataset.report().splitlines() if "more than three digits" in line]
    assert [line.split(":")[0] for line in told] == ["Folder 1000_cats", "Folder 20240512_trip"]
    inside = load_folder(tmp_path / "20240512_trip")
    assert inside.entries == (0,) and "Folder 20240512_trip:" in inside.report()


def test_captions_beside_the_picture(tmp_path: Path) -> None:
    for name in "abcde":
        picture(tmp_path / f"{name}.png")
    (tmp_path / "a.txt").write_text("from txt\n\n", encoding="utf-8")
    (tmp_path / "a.caption").write_text("from caption")
    (tmp_path / "b.caption").write_bytes("\ufeffwith mark".encode())
    (tmp_path / "c.txt").write_bytes("café".encode("cp1252"))
    (tmp_path / "d.txt").write_bytes("sixteen".encode("utf-16"))
    dataset = load_folder(tmp_path)
    assert [item.caption for item in dataset.items] == ["from txt", "with mark", "café", "sixteen", ""]
    report = dataset.report()
    assert "No caption (1 of 5):\n  e.png" in report and "c.txt is not UTF-8" in report


def test_captions_from_metadata_jsonl(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "sub/c.png", "sub/d.png"):
        picture(tmp_path / name)
    rows = [
        {"file_name": "a.png", "text": "row a \u2028 still a"},
        {"file_name": "sub/c.png", "caption": "outer c"},
        {"file_name": "sub/d.png", "prompt": "outer d"},
        {"file_name": "gone.png", "text": "x"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n")
    (tmp_path / "sub" / "metadata.jsonl").write_text(json.dumps({"file_name": "c.png", "text": "inner c"}))
    (tmp_path / "a.txt").write_text("file a")
    (tmp_path / "b.txt").write_text("file b")

    def captions(source: str) -> list[str]:
        return [item.caption for item in load_folder(tmp_path, FolderOptions(captions=source)).items]

    assert captions("auto") == ["file a", "file b", "inner c", "outer d"]
    assert captions("metadata.jsonl") == ["row a \u2028 still a", "", "inner c", "outer d"]
    assert captions("text files") == ["file a", "file b", "", ""]
    assert captions("none") == [""] * 4
    assert "1 row(s) for pictures that are not there, e.g. gone.png" in load_folder(tmp_path).report()
    assert "No caption" not in load_folder(tmp_path, FolderOptions(captions="none")).report()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{not json", "line 2: got '{not json'"),
        ('["a.png"]', 'an object with "file_name"'),
        ('{"text": "x"}', 'an object with "file_name"'),
        ('{"file_name": "a.png", "text": ["x"]}', "caption of type list"),
    ],
)
def test_a_malformed_metadata_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "fine"}\n' + line)
    with pytest.raises(ValueError) as error:
        load_folder(tmp_path)
    assert words in str(error.value)


def test_one_broken_file_of_many_is_reported_and_skipped_or_refused(tmp_path: Path) -> None:
    for number in range(30):
        picture(tmp_path / f"{number:03}.png", f"hsl({number * 10}, 90%, 50%)")
    photograph("coffee").save(tmp_path / "broken.jpg")
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "broken.jpg").read_bytes()[:9000])
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    dataset = load_folder(tmp_path)
    assert len(dataset) == 30
    assert "Skipped as broken (2):\n  broken.jpg: cannot be decoded" in dataset.report()
    assert "dot.png: is 1x1 pixels" in dataset.report()
    with pytest.raises(ValueError, match=r"got 2 broken picture\(s\) of 32.*(\n.*)*broken\.jpg"):
        load_folder(tmp_path, FolderOptions(broken="refuse"))


def test_missing_captions_are_counted_named_or_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["coffee", "chelsea"])
    for number in range(25):
        picture(tmp_path / f"x{number:02}.png")
    assert "No caption (25 of 27):" in load_folder(tmp_path).report()
    with pytest.raises(ValueError) as error:
        load_folder(tmp_path, FolderOptions(missing="refuse"))
    assert (
        "got none for 25 of 27" in str(error.value) and "x00.png" in str(error.value) and "5 more" in str(error.value)
    )


def test_folders_with_nothing_usable_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no picture"):
        load_folder(tmp_path)
    (tmp_path / "IMG_1.HEIC").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"holds no picture that is read \(only \.heic \(1\)\)"):
        load_folder(tmp_path)
    with pytest.raises(ValueError, match="not there any more"):
        load_folder(tmp_path / "gone")
    (tmp_path / "only.png").write_text("broken")
    with pytest.raises(ValueError, match=r"1 broken picture\(s\) of 1"):
        load_folder(tmp_path)
    picture(tmp_path / "good.png")
    assert "Left out, not a picture that is read: .heic (1)." in load_folder(tmp_path).report()


def test_files_that_may_not_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not bind every user, so the refusal is played."""
    write_dataset(tmp_path, ["coffee"])
    picture(tmp_path / "locked.png")
    opened = Path.open

    def refuse(path: Path, *arguments, **settings):
        if path.name in ("locked.png", "coffee.txt"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **settings)

    monkeypatch.setattr(Path, "open", refuse)
    report = load_folder(tmp_path, FolderOptions(captions="none")).report()
    assert "locked.png: cannot be read: Permission denied" in report and str(tmp_path) not in report
    monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(path))
    with pytest.raises(ValueError, match=r"coffee\.txt: got Permission denied"):
        load_folder(tmp_path)


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    picture(secret / "x.png")
    (secret / "x.txt").write_text("secret")
    folder = tmp_path / "data"
    picture(folder / "mine.png")
    try:
        (folder / "out.png").symlink_to(secret / "x.png")
        (folder / "mine.txt").symlink_to(secret / "x.txt")
        (folder / "outer").symlink_to(secret)
        (folder / "twin.png").symlink_to(folder / "mine.png")
    except OSError:
        pytest.skip("links cannot be made here")
    assert [(item.name, item.caption) for item in load_folder(folder).items] == [("mine.png", ""), ("twin.png", "")]


def test_the_state_changes_with_pictures_and_captions(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["coffee"])
    states = [folder_state(tmp_path)]
    assert folder_state(tmp_path) == states[0]
    for change in (
        lambda: (tmp_path / "coffee.txt").write_text("another caption"),
        lambda: os.utime(tmp_path / "coffee.png", ns=(1, 1)),
        lambda: (tmp_path / "metadata.jsonl").write_text(""),
        lambda: (tmp_path / "coffee.png").rename(tmp_path / "tea.png"),
    ):
        change()
        states.append(folder_state(tmp_path))
    assert len(set(states)) == 5
    (tmp_path / "readme.md").write_text("nothing to do with it")
    assert folder_state(tmp_path) == states[-1]


def test_progress_is_told_for_every_file(tmp_path: Path) -> None:
    write_dataset(tmp_path, ["coffee", "chelsea"])
    seen: list[tuple[int, int]] = []
    load_folder(tmp_path, watch=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


@given(st.floats(0, 0.5), st.integers(0, 2**31))
def test_hold_out_is_a_partition_by_content(fraction: float, seed: int) -> None:
    from dataclasses import replace

    from glitch_lora.dataset.dataset import Dataset, Item

    items = tuple(Item(Path(str(n)), str(n), "", 1, str(n % 17), (64, 64)) for n in range(20))  # three copies
    kept, held = split_dataset(Dataset(items), fraction, seed)
    assert sorted((*kept.items, *held.items), key=lambda item: int(item.name)) == list(items)
    assert not {item.key for item in kept.items} & {item.key for item in held.items}
    assert len({item.key for item in held.items}) == (0 if fraction == 0 else max(1, round(17 * fraction)))
    renamed = Dataset(tuple(replace(item, name="z" + item.name) for item in reversed(items)))
    again = split_dataset(renamed, fraction, seed)[1]
    assert {item.key for item in again.items} == {item.key for item in held.items}


def test_hold_out_refuses_more_than_half(tmp_path: Path) -> None:
    dataset = load_folder(write_dataset(tmp_path, ["coffee", "chelsea", "rocket", "cell"]))
    with pytest.raises(ValueError, match=r"hold_out: got 0\.9"):
        split_dataset(dataset, 0.9, 0)
    assert [len(part) for part in split_dataset(dataset, 0.25, 1)] == [3, 1]
    assert len({split_dataset(dataset, 0.25, seed)[1].fingerprint for seed in range(20)}) == 4


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="captions: got 'csv'"):
        FolderOptions(captions="csv")


@pytest.mark.parametrize("line", ["[" * 200_000, '{"file_name": ' + "9" * 5000 + "}"])
def test_a_metadata_line_that_no_parser_survives_is_named(tmp_path: Path, line: str) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "metadata.jsonl").write_text(line)
    with pytest.raises(ValueError, match="line 1: got .* allowed is one JSON object a line"):
        load_folder(tmp_path)


def test_errors_call_the_folder_as_the_list_does(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="folder: got 'input/empty', which holds no picture"):
        load_folder(tmp_path, called="input/empty")
