"""How far texts moved. Oracles: torch's cosine, SciPy's distances, NumPy's mean and variance."""

import numpy as np
import pytest
import torch
from glitch_lora.metrics.text_drift import common_movement, drift, kept, movement, neighbours, spacing
from scipy.spatial.distance import cdist, pdist

RANDOM = np.random.default_rng(0)


def test_drift_is_one_minus_cosine() -> None:
    before, after = RANDOM.normal(size=(2, 9, 16)).astype(np.float32)
    cosine = torch.nn.functional.cosine_similarity(torch.tensor(before).double(), torch.tensor(after).double())
    assert drift(movement(before, after)) == pytest.approx(float((1 - cosine).mean()), abs=1e-12)
    assert drift(movement(before, before)) == 0.0
    assert drift(movement(before, 7 * before)) == pytest.approx(0, abs=1e-12)
    assert drift(movement(before, -before)) == pytest.approx(2)


def test_common_and_own_make_up_the_whole() -> None:
    texts = [RANDOM.normal(size=(count, 8)) for count in (1, 4, 2, 7)]
    common = common_movement(texts)
    own = [drift(text - common) for text in texts]
    assert drift(common) + np.mean(own) == pytest.approx(np.mean([drift(text) for text in texts]), rel=1e-12)
    single = np.stack([text[0] for text in texts])
    whole = common_movement([row[None] for row in single])
    assert np.allclose(whole, single.mean(axis=0))
    assert np.mean([drift(row[None] - whole) for row in single]) == pytest.approx(single.var(axis=0).sum() / 2)


def test_what_all_move_alike_is_nobodys_own() -> None:
    step = RANDOM.normal(size=(1, 8))
    common = common_movement([step, step, step])
    assert drift(step - common) == pytest.approx(0, abs=1e-12)
    broken = np.full((1, 8), np.nan)
    assert np.array_equal(common_movement([step, broken]), step[0])
    assert np.isnan(drift(broken - common))
    assert drift(common_movement([])) == 0


def test_neighbours_are_the_nearest_by_centred_cosine() -> None:
    rows = RANDOM.normal(size=(30, 12)) + 5  # a narrow cone
    shared = list(range(3, 30))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    distance = cdist(unit - unit[shared].mean(0), unit - unit[shared].mean(0), "cosine")
    np.fill_diagonal(distance, np.inf)
    expected = [tuple(row) for row in np.argsort(distance, axis=1)[:, :4]]
    assert neighbours(rows, shared, 4) == expected
    assert all(len(row) == 29 and number not in row for number, row in enumerate(neighbours(rows, shared, 50)))


def test_rows_that_are_not_numbers_have_no_neighbours() -> None:
    rows = RANDOM.normal(size=(6, 4))
    rows[2] = np.nan
    found = neighbours(rows, range(6), 5)
    assert found[2] == () and all(len(row) == 4 and 2 not in row for number, row in enumerate(found) if number != 2)


def test_kept_is_the_jaccard_index() -> None:
    assert kept((1, 2, 3), (3, 1, 2)) == 1
    assert kept((1, 2), (2, 3)) == pytest.approx(1 / 3)
    assert kept((1,), (2,)) == 0
    assert kept((), ()) == 1


def test_spacing_is_the_median_distance() -> None:
    rows = RANDOM.normal(size=(11, 5))
    assert spacing(rows) == pytest.approx(np.median(pdist(rows, "cosine")))
    assert spacing(rows[:1]) == 0
