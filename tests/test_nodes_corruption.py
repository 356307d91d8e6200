"""Corrupt Image and Corrupt Dataset: batches, masks, copies, and the real server.

Oracles: the operation applied to each picture by hand, and ComfyUI's own Load Image and Save Image.
"""

from typing import Any

import numpy as np
import pytest
import torch
from comfy_server import ComfyServer
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.derived import merged, with_copies
from glitch_lora.dataset.folder import load_folder
from glitch_lora.glitch.batch import corrupted_pictures
from glitch_lora.glitch.registry import all_operations
from glitch_lora.glitch.step import corruption
from glitch_lora.host.damage import changed_batch
from photographs import photograph, write_dataset
from PIL import Image


def small(name: str, size: int = 48) -> Image.Image:
    return photograph(name).resize((size, size))


def as_tensor(*pictures: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]).astype(np.float32) / 255)


def damaged(images: torch.Tensor, name: str = "generation_loss", mask: Any = None, **settings: Any) -> torch.Tensor:
    return changed_batch(images, lambda pictures: corrupted_pictures(pictures, name, {}, **settings), mask)


@pytest.mark.parametrize("name", [operation.name for operation in all_operations() if not operation.wants_context])
def test_a_batch_is_its_singles_in_any_order(name: str) -> None:
    pictures = [small("chelsea"), small("coffee"), small("rocket")]
    together = damaged(as_tensor(*pictures), name)
    backwards = damaged(as_tensor(*pictures[::-1]), name)
    for number, picture in enumerate(pictures):
        alone = damaged(as_tensor(picture), name)[0]
        assert torch.equal(together[number], alone) and torch.equal(backwards[-1 - number], alone)


@pytest.mark.parametrize("name", [operation.name for operation in all_operations() if operation.wants_context])
def test_with_company_the_order_does_not_matter(name: str) -> None:
    pictures = [small("chelsea"), small("coffee"), small("rocket")]
    together, backwards = damaged(as_tensor(*pictures), name), damaged(as_tensor(*pictures[::-1]), name)
    assert torch.equal(together, backwards.flip(0))


def test_equal_pictures_are_told_apart_by_number_only() -> None:
    twins = as_tensor(small("chelsea"), small("chelsea"))
    by_content, by_number = damaged(twins), damaged(twins, keyed_by="number")
    assert torch.equal(by_content[0], by_content[1]) and not torch.equal(by_number[0], by_number[1])


def test_what_is_not_damaged_keeps_its_exact_value() -> None:
    images = torch.rand(1, 40, 40, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    assert torch.equal(damaged(images, severity=0.0), images)
    mask = torch.zeros(1, 40, 40)
    mask[:, :, 20:] = 1
    half = damaged(images, mask=mask)
    assert torch.equal(half[:, :, :20], images[:, :, :20])
    assert torch.equal(half[:, :, 20:], damaged(images)[:, :, 20:]) and not torch.equal(half, images)


def test_masks_begin_again_for_more_pictures_and_no_picture_is_none() -> None:
    images = as_tensor(*(small(name) for name in ("chelsea", "coffee", "rocket")))
    masks = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])
    found, whole = damaged(images, mask=masks), damaged(images)
    assert torch.equal(found[1], images[1]) and torch.allclose(found[::2], whole[::2], atol=1e-6)
    assert damaged(images[:0]).shape == (0, 48, 48, 3)


def test_alpha_stays_and_the_input_is_not_changed() -> None:
    images = torch.rand(2, 24, 24, 4, generator=torch.Generator().manual_seed(1))
    before = images.clone()
    after = damaged(images)
    assert torch.equal(images, before) and torch.equal(after[..., 3], images[..., 3])
    assert not torch.equal(after[..., :3], images[..., :3])


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"images: got shape \(1, 8, 8, 2\), allowed"):
        damaged(torch.zeros(1, 8, 8, 2))


@pytest.fixture
def photos(tmp_path) -> Dataset:
    return load_folder(write_dataset(tmp_path / "photos", ["chelsea", "coffee", "rocket"]))


def test_copies_are_damaged_each_in_its_own_way_beside_the_clean_one(photos: Dataset) -> None:
    step = corruption("generation_loss", {"generations": 2}, seed=3)
    copies = with_copies(photos, step, copies=2, keep_clean=True)
    assert len(copies) == 9 and len({item.key for item in copies.items}) == 9
    for index in range(3):
        clean, one, other = (copies.sample(index + 3 * part) for part in range(3))
        assert clean.image.tobytes() == photos.sample(index).image.tobytes() and clean.damage == ()
        assert one.image.tobytes() != other.image.tobytes() != clean.image.tobytes()
        assert one.damage == other.damage == (("generation_loss", 1.0),)
        assert clean.caption == one.caption == copies.caption(index + 3)
    assert with_copies(photos, step).steps == (step,)
    with pytest.raises(ValueError, match="copies: got 0"):
        with_copies(photos, step, copies=0)


def test_merging_keeps_every_chain_and_later_steps_reach_all(photos: Dataset) -> None:
    crushed = photos.with_step(corruption("jpeg_recompression", {"quality": 5}))
    both = merged([photos, crushed])
    assert [both.sample(index).image.tobytes() for index in range(6)] == [
        *(photos.sample(index).image.tobytes() for index in range(3)),
        *(crushed.sample(index).image.tobytes() for index in range(3)),
    ]
    later = both.with_step(corruption("generation_loss", {"generations": 1}, seed=1))
    assert [name for name, _ in later.sample(4).damage] == ["jpeg_recompression", "generation_loss"]
    assert len({both.fingerprint, later.fingerprint, photos.fingerprint, crushed.fingerprint}) == 4


def test_severity_jitter_is_written_down_as_it_was_drawn(photos: Dataset) -> None:
    step = corruption("jpeg_recompression", severity=0.5, severity_jitter=0.3, seed=2)
    jittered = photos.with_step(step)
    drawn = [jittered.sample(index).damage[0][1] for index in range(3)]
    assert len(set(drawn)) == 3 and all(0.2 <= severity <= 0.8 for severity in drawn)
    assert drawn == [jittered.marked(index).damage[0][1] for index in range(3)], "known without the picture too"


def test_the_nodes_on_a_server(server: ComfyServer) -> None:
    write_dataset(server.base / "input" / "shots", ["chelsea", "coffee"])
    photograph("chelsea").save(server.base / "input" / "one.png")
    operation = {"operation": "jpeg_recompression", "operation.quality": 5, "operation.subsampling": "4:2:0"}
    settings = operation | {"severity": 1.0, "seed": 0}
    load = {"folder": "input/shots", "recursive": True, "captions": "auto", "missing_captions": "allow"}
    load |= {"broken_images": "skip and report", "background": "#ffffff", "hold_out": 0.0, "seed": 0}
    more = {"fraction": 1.0, "damage": "frozen", "severity_jitter": 0.2, "copies": 2, "keep_clean": True}
    prompt = {
        "image": {"class_type": "LoadImage", "inputs": {"image": "one.png"}},
        "one": {
            "class_type": "GlitchCorruptImage",
            "inputs": settings | {"images": ["image", 0], "keyed_by": "content"},
        },
        "save": {"class_type": "SaveImage", "inputs": {"images": ["one", 0], "filename_prefix": "one"}},
        "load": {"class_type": "GlitchLoadDataset", "inputs": load},
        "many": {"class_type": "GlitchCorruptDataset", "inputs": settings | more | {"dataset": ["load", 0]}},
        "told": {"class_type": "PreviewAny", "inputs": {"source": ["many", 1]}},
        "said": {"class_type": "PreviewAny", "inputs": {"source": ["one", 1]}},
    }
    found = server.queue(prompt)["outputs"]
    assert "6 pictures" in found["told"]["text"][0]
    assert "glx_jpeg" in found["said"]["text"][0]
    saved = Image.open(server.base / "output" / found["save"]["images"][0]["filename"])
    expected = next(corrupted_pictures([photograph("chelsea")], "jpeg_recompression", {"quality": 5}))
    assert np.array_equal(np.asarray(saved), np.asarray(expected))
