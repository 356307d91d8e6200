"""Blocks in the wrong place, read from pictures whose pixels name their own place."""

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image


def places(width: int, height: int) -> Image.Image:
    """Return a picture whose red and green say in which column and row a pixel was."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([columns, rows, np.zeros_like(rows)], -1))


def apply(name: str, image: Image.Image, severity: float = 1.0, context: Context | None = None, seed=0, **values):
    return np.asarray(find_operation(name).apply(image, generator(seed), severity, context, **values)).astype(int)


def ways(image: Image.Image, **values) -> np.ndarray:
    """Return how far (right, down) each pixel's content came, away from the border."""
    return (apply("block_displacement", image, **values) - np.asarray(image).astype(int))[..., :2]


def test_blocks_move_whole_and_not_too_far() -> None:
    found = ways(places(250, 250), block=25, fraction=1.0, shift=0.1)[50:200, 50:200]
    assert 15 < np.abs(found).max() <= 25
    blocks = found.reshape(6, 25, 6, 25, 2)
    assert (blocks == blocks[:, :1, :, :1]).all()


@pytest.mark.parametrize("run", [1, 8])
def test_runs_have_their_mean_length(run: int) -> None:
    found = ways(places(256, 256), block=4, fraction=1.0, shift=0.4, run=run)[2::4, 2::4]
    runs = (np.diff(found[:, 20:44], axis=1) != 0).any(-1).mean()
    assert runs == pytest.approx(1 / run, rel=0.35)


def test_the_fraction_is_displaced() -> None:
    found = ways(places(256, 256), block=4, fraction=0.3, shift=0.3, run=1)
    assert (found != 0).any(-1).mean() == pytest.approx(0.3, abs=0.04)


def test_more_severity_adds_blocks_and_moves_none() -> None:
    image = places(256, 256)
    fewer, more = (ways(image, severity=severity) for severity in (0.4, 0.8))
    moved = (fewer != 0).any(-1)
    assert np.array_equal(more[moved], fewer[moved]) and (more != 0).any(-1).sum() > 1.5 * moved.sum()


def test_drift_is_one_way() -> None:
    found = ways(places(256, 256), motion="drift", fraction=0.5, shift=0.1)[64:192, 64:192].reshape(-1, 2)
    assert {tuple(way) for way in found.tolist()} == {(0, 0), tuple(found[np.abs(found).sum(1).argmax()].tolist())}


def test_the_other_picture_is_searched_for_what_looks_alike() -> None:
    """The other picture is this one moved by a place the search tries: every block is found again."""
    image = photograph("chelsea").crop((0, 0, 288, 288))
    other = Image.fromarray(np.roll(np.asarray(image), (24, -24), (0, 1)))
    found = apply(
        "block_displacement",
        image,
        context=Context([image, other], 0),
        motion="other picture",
        fraction=1.0,
        shift=0.25,
    )
    inner = slice(80, 208)
    assert np.array_equal(found[inner, inner], np.asarray(image)[inner, inner])


def test_the_other_picture_is_what_is_seen() -> None:
    image, other = photograph("chelsea"), Image.new("RGB", (50, 50), "magenta")
    values = {"context": Context([image, other], 0), "motion": "other picture", "run": 1}
    for severity in (0.25, 1.0):
        found = apply("block_displacement", image, severity, fraction=0.8, **values)
        assert (found == (255, 0, 255)).all(-1).mean() == pytest.approx(0.8 * severity, abs=0.08)


@pytest.mark.parametrize("size", [(64, 64), (61, 47)])
def test_a_shuffle_without_rotation_keeps_the_pieces(size: tuple[int, int]) -> None:
    image = places(*size)
    found = apply("block_shuffle", image, grid=4, rotation=False)
    seen = {tuple(pixel) for pixel in found.reshape(-1, 3).tolist()}
    assert len(seen) / (size[0] * size[1]) > 0.85  # all, were the pieces exactly alike
    if size == (64, 64):
        assert len(seen) == 64 * 64
        assert (np.diff(found[..., 0].reshape(4, 16, 4, 16), axis=3) == 1).all()
        assert (np.diff(found[..., 1].reshape(4, 16, 4, 16), axis=1) == 1).all()


def test_turned_pieces_are_turned_pieces() -> None:
    image = places(64, 64)
    found = apply("block_shuffle", image, grid=4).reshape(4, 16, 4, 16, 3).swapaxes(1, 2).reshape(16, 16, 16, 3)
    whole = np.asarray(image).astype(int).reshape(4, 16, 4, 16, 3).swapaxes(1, 2).reshape(16, 16, 16, 3)
    turned = {
        np.rot90(piece, quarter).tobytes(): (number, quarter)
        for number, piece in enumerate(whole)
        for quarter in range(4)
    }
    origins = [turned[np.ascontiguousarray(piece).tobytes()] for piece in found]
    assert sorted(number for number, _ in origins) == list(range(16))
    assert len({quarter for _, quarter in origins}) == 4


def test_more_severity_moves_more_pieces_and_leaves_the_rest() -> None:
    image = places(240, 240)
    moved = [(apply("block_shuffle", image, severity, grid=10) != np.asarray(image)).any(-1) for severity in (0.3, 0.6)]
    assert [one.mean() for one in moved] == pytest.approx([0.3, 0.6], abs=0.01)
    assert (moved[1] | ~moved[0]).all()
