"""The plan of a sweep: lists are read or refused, pictures counted, the base beside every checkpoint.

Oracle: brute force over the axes, written here, and hand-written layouts.
"""

from itertools import product

import pytest
from glitch_lora.sampling.axes import (
    parse_checkpoints,
    parse_integers,
    parse_names,
    parse_numbers,
    parse_prompts,
    parse_sizes,
)
from glitch_lora.sampling.plan import AXES, BASE, BASE_LABEL, SweepPlan, axis_label
from hypothesis import given, settings
from hypothesis import strategies as st


def lists(values, size=3):
    return st.lists(values, min_size=1, max_size=size, unique=True).map(tuple)


@st.composite
def plans(draw):
    rows, columns = draw(st.permutations(AXES))[:2]
    return SweepPlan(
        checkpoint=draw(lists(st.integers(1, 2000))),
        prompt=draw(lists(st.text(min_size=1, max_size=5), 2)),
        strength=draw(lists(st.sampled_from([0.0, -1.0, 0.5, 1.0, 2.0]))),
        negative=draw(st.sampled_from([("",), ("bad",), ("bad", "")])),
        seed=draw(lists(st.integers(0, 2**64 - 1), 2)),
        steps=draw(lists(st.integers(1, 50), 2)),
        cfg=draw(lists(st.sampled_from([0.0, 1.0, 7.5]), 2)),
        size=draw(lists(st.sampled_from([(64, 64), (64, 128)]), 2)),
        rows=rows,
        columns=columns,
    )


@settings(max_examples=60, deadline=None)
@given(plans())
def test_cells_are_the_product_of_the_axes_with_one_base_per_setting(plan):
    states = {(step, strength) for step in plan.checkpoint for strength in plan.strength if strength} | {(BASE, 0.0)}
    others = [getattr(plan, axis) for axis in AXES if axis not in ("checkpoint", "strength")]
    expected = {(state, values) for state in states for values in product(*others)}
    cells = plan.cells()
    found = {
        (cell.state, tuple(getattr(cell, axis) for axis in AXES if axis not in ("checkpoint", "strength")))
        for cell in cells
    }
    assert found == expected
    assert len(cells) == len(set(cells)) == plan.count == len(expected)


@settings(max_examples=60, deadline=None)
@given(plans())
def test_pages_show_every_picture_and_nothing_else(plan):
    shown = {cell for page in plan.layout() for row in page.cells for cell in row}
    assert shown == set(plan.cells())
    for page in plan.layout():
        assert len(page.cells) == len(page.rows) and {len(row) for row in page.cells} == {len(page.columns)}


@settings(max_examples=60, deadline=None)
@given(plans())
def test_each_weight_state_is_met_once_and_steps_come_in_numeric_order(plan):
    states = [cell.state for cell in plan.cells()]
    blocks = [state for number, state in enumerate(states) if number == 0 or state != states[number - 1]]
    assert len(blocks) == len(set(blocks))
    assert [step for step, _ in blocks] == sorted(step for step, _ in blocks)
    assert blocks[0] == (BASE, 0.0)


@settings(max_examples=40, deadline=None)
@given(plans())
def test_a_plan_survives_json(plan):
    import json

    assert SweepPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    for cell in plan.cells():
        assert type(cell).from_json(json.loads(json.dumps(cell.to_json()))) == cell


def test_base_is_the_first_column_of_checkpoints_and_marked():
    page = SweepPlan(checkpoint=(900, 1000, 50), prompt=("a", "b")).layout()[0]
    assert page.columns == (BASE_LABEL, "step 50", "step 900", "step 1000")
    assert page.rows == ("a", "b")
    assert (page.base_column, page.base_row) == (0, None)
    assert [cell.checkpoint for cell in page.cells[1]] == [0, 50, 900, 1000]


def test_the_base_is_no_checkpoint_in_the_description():
    plan = SweepPlan(checkpoint=(900, 1000), prompt=("a",), strength=(0.5, 1.0))
    assert plan.describe() == "5 pictures = (base + 2 checkpoints) x strength 2, the base once for all strengths"


def test_base_is_the_first_row_when_checkpoints_are_rows():
    page = SweepPlan(checkpoint=(2, 10), prompt=("a",), rows="checkpoint", columns="seed", seed=(5, 6)).layout()[0]
    assert page.rows == (BASE_LABEL, "step 2", "step 10") and page.base_row == 0


def test_base_picture_is_shared_by_all_strengths():
    plan = SweepPlan(checkpoint=(10,), prompt=("a",), strength=(0.5, 1.0), rows="strength", columns="checkpoint")
    page = plan.layout()[0]
    assert page.cells[0][0] == page.cells[1][0]
    assert plan.count == 3


def test_base_stands_on_the_strength_axis_when_checkpoints_are_not_shown():
    plan = SweepPlan(checkpoint=(10, 20), prompt=("a",), strength=(1.0, 0.5, 0.0), rows="prompt", columns="strength")
    pages = plan.layout()
    assert [page.settings for page in pages] == [("step 10",), ("step 20",)]
    assert pages[0].columns == (BASE_LABEL, "strength 1", "strength 0.5") and pages[0].base_column == 0
    assert pages[0].cells[0][0] == pages[1].cells[0][0]
    assert plan.count == 5


def test_base_is_one_page_when_neither_checkpoints_nor_strengths_are_shown():
    plan = SweepPlan(checkpoint=(10,), prompt=("a",), strength=(0.5, 1.0), rows="prompt", columns="seed", seed=(1, 2))
    assert [page.settings for page in plan.layout()] == [
        (BASE_LABEL,),
        ("step 10", "strength 0.5"),
        ("step 10", "strength 1"),
    ]


def test_other_axes_become_pages_and_single_values_are_fixed():
    plan = SweepPlan(checkpoint=(10,), prompt=("a",), sampler=("euler", "ddim"), size=((512, 768),))
    assert [page.settings for page in plan.layout()] == [("euler",), ("ddim",)]
    assert plan.fixed() == ("strength 1", "no negative", "seed 0", "20 steps", "CFG 7", "512x768", "normal")


def test_count_needs_no_listing():
    many = tuple(range(1, 10_001))
    plan = SweepPlan(checkpoint=many, prompt=("a",), seed=many, steps=many)
    assert plan.count == 10_001 * 10_000 * 10_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": "seed", "columns": "seed"}, "two different axes"),
        ({"rows": "colour"}, "rows: got 'colour'"),
        ({"seed": ()}, "seed: got no value"),
        ({"checkpoint": (0, 5)}, "the base is always added"),
    ],
)
def test_a_plan_that_cannot_be_laid_out_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        SweepPlan(**({"checkpoint": (1,), "prompt": ("a",)} | changes))


def test_labels_are_complete():
    prompt = "word " * 400
    assert axis_label("prompt", prompt) == prompt
    assert axis_label("size", (832, 1216)) == "832x1216"
    assert axis_label("cfg", 7.0) == "CFG 7"
    plan = SweepPlan(checkpoint=(5, 10), prompt=("a",), seed=(1, 2))
    assert [plan.cell_label(cell) for cell in plan.cells()][:3] == [
        f"{BASE_LABEL} · seed 1",
        f"{BASE_LABEL} · seed 2",
        "step 5 · seed 1",
    ]


STEPS = (100, 200, 300, 400, 500)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("all", STEPS),
        ("", STEPS),
        (" ALL ", STEPS),
        ("every 2", (100, 300, 500)),
        ("every 3", (200, 500)),
        ("every 99", (500,)),
        ("300, 100, last", (100, 300, 500)),
        ("first;200\n200", (100, 200)),
    ],
)
def test_checkpoints_are_chosen_in_numeric_order(text, chosen):
    assert parse_checkpoints(text, (500, 100, 400, 200, 300)) == chosen


def test_numeric_order_is_not_the_order_of_text():
    assert parse_checkpoints("all", (1000, 900, 20)) == (20, 900, 1000)


@pytest.mark.parametrize("text", ["250", "every 0", "every", "some", "-100", "1e2", "²"])
def test_unknown_checkpoints_are_named_with_the_steps_there_are(text):
    with pytest.raises(ValueError, match=r"checkpoints: got .*allowed .*100, 200, 300, 400, 500"):
        parse_checkpoints(text, STEPS)


def test_a_run_without_checkpoints_says_so():
    with pytest.raises(ValueError, match="train it first"):
        parse_checkpoints("all", ())


def test_lists_are_read():
    assert parse_integers("seeds", "3, 1-4, 3", 0, 9) == (3, 1, 2, 4)
    assert parse_integers("seeds", str(2**64 - 1), 0, 2**64 - 1) == (2**64 - 1,)
    assert parse_numbers("cfg", "7.5, 1\n1.0", 0, 100) == (7.5, 1.0)
    assert parse_numbers("strengths", "-1, .5", -10, 10) == (-1.0, 0.5)
    assert parse_sizes("sizes", "512x512, 768 x 512; 64X8000") == ((512, 512), (768, 512), (64, 8000))
    assert parse_names("samplers", "ddim, euler", ("euler", "ddim")) == ("ddim", "euler")
    assert parse_prompts("a, b\n\n  c \na, b") == ("a, b", "c")


@pytest.mark.parametrize(
    "read",
    [
        lambda: parse_integers("seeds", "1.5", 0, 9),
        lambda: parse_integers("seeds", "4-1", 0, 9),
        lambda: parse_integers("seeds", "10", 0, 9),
        lambda: parse_integers("seeds", "", 0, 9),
        lambda: parse_integers("seeds", "0-99999999999", 0, 2**64),
        lambda: parse_numbers("cfg", "seven", 0, 100),
        lambda: parse_numbers("cfg", "nan", 0, 100),
        lambda: parse_numbers("cfg", "inf", 0, 100),
        lambda: parse_sizes("sizes", "512"),
        lambda: parse_sizes("sizes", "510x512"),
        lambda: parse_sizes("sizes", "8x512"),
        lambda: parse_sizes("sizes", "512x99999"),
        lambda: parse_names("samplers", "eulr", ("euler",)),
    ],
)
def test_refusals_say_what_got_allowed_and_what_to_do(read):
    with pytest.raises(ValueError, match=r"^(seeds|cfg|sizes|samplers): got .+, allowed .+, correct the list$"):
        read()
