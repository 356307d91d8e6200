"""Grids show every picture where its labels say, complete or with an ellipsis, in pages that can be read.

Oracles: pictures of one flat colour found again on the drawn page; text measured with the font itself.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
from glitch_lora.sampling import lettering
from glitch_lora.sampling.cells import Weights
from glitch_lora.sampling.grid import READING_SIDE, Entry, Table, draw_pages, list_table, sweep_tables
from glitch_lora.sampling.lettering import ELLIPSIS, fit, wrap
from glitch_lora.sampling.pages import save_pages, stem_for
from glitch_lora.sampling.plan import SweepPlan
from glitch_lora.sampling.sweep import run_sweep
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

LONG = " ".join(f"word{number}" for number in range(450))


def colour(row, column):
    return 5 + 6 * row, 5 + 5 * column, 255


def table(rows, columns, size=(64, 48), **changes):
    def entry(row, column):
        return Entry(size, lambda: Image.new("RGB", size, colour(row, column)))

    cells = tuple(tuple(entry(row, column) for column in range(columns)) for row in range(rows))
    labels = tuple(f"row {row}" for row in range(rows)), tuple(f"step {column}" for column in range(columns))
    return replace(Table("title", ("a note",), *labels, cells, base_column=0), **changes)


def places(page, wanted):
    """Return (left, top, width, height) of the pixels of one colour, or None."""
    found = np.argwhere((np.asarray(page) == wanted).all(axis=-1))
    if not len(found):
        return None
    (top, left), (bottom, right) = found.min(axis=0), found.max(axis=0)
    return int(left), int(top), int(right - left + 1), int(bottom - top + 1)


def test_every_picture_stands_in_its_row_and_column_without_overlap():
    page = draw_pages([table(3, 4)])[0]
    boxes = {(row, column): places(page, colour(row, column)) for row in range(3) for column in range(4)}
    assert len({box[2:] for box in boxes.values()}) == 1, "all pictures are shown at one size, none covered"
    for row in range(3):
        assert len({boxes[row, column][1] for column in range(4)}) == 1
        lefts = [boxes[row, column][0] for column in range(4)]
        assert all(second - first > boxes[0, 0][2] for first, second in zip(lefts, lefts[1:], strict=False))
    for column in range(4):
        assert len({boxes[row, column][0] for row in range(3)}) == 1


def test_small_pictures_are_enlarged_by_a_whole_factor_and_stay_sharp():
    size = (20, 20)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8))
    page = draw_pages([table(1, 1, size, cells=((Entry(size, lambda: picture),),), base_column=None)])[0]
    enlarged = np.asarray(picture.resize((240, 240), Image.Resampling.NEAREST))
    shown = np.asarray(page)
    height, width = shown.shape[0] - 240, shown.shape[1] - 240
    assert any(
        (shown[top : top + 240, left : left + 240] == enlarged).all()
        for top in range(height + 1)
        for left in range(width + 1)
        if (shown[top, left] == enlarged[0, 0]).all()
    )


@pytest.mark.parametrize(("rows", "columns"), [(1, 40), (30, 2), (12, 13)])
def test_large_tables_take_pages_that_show_everything_and_the_base_on_each(rows, columns):
    whole = table(rows, columns, (256, 256))
    pages = draw_pages([whole], 1500)
    assert len(pages) > 1 and all(max(page.size) <= 1500 * 1.05 for page in pages)
    shown = set()
    for page in pages:
        pixels = np.asarray(page).reshape(-1, 3)
        blue = np.unique(pixels[(pixels[:, 2] == 255) & (pixels[:, 0] < 200)][:, :2], axis=0)
        here = {((red - 5) // 6, (green - 5) // 5) for red, green in blue.tolist()}
        assert 0 in {column for _, column in here}, "the base is on every page"
        assert min(places(page, colour(*min(here)))[2:]) >= 1500 * 0.08
        shown |= here
    assert shown == {(row, column) for row in range(rows) for column in range(columns)}


def test_a_page_is_readable_at_2000_pixels():
    """Letters are at least 13 pixels high lines when the page's longest side is scaled to 2000."""
    from glitch_lora.sampling.grid import _Drawing

    for part in (table(2, 3, (512, 512)), table(6, 8, (1024, 1024)), table(4, 2, (832, 1216))):
        prompts = tuple(LONG for _ in part.rows)
        drawing = _Drawing(replace(part, rows=prompts), 4096)
        scale = min(1.0, READING_SIDE / max(drawing.page_width, drawing.page_height))
        texts = [*drawing.row_labels, *drawing.heads, *drawing.notes, drawing.title]
        assert min(text.size for text in texts) * scale >= 13


def test_long_prompts_end_in_an_ellipsis_and_short_ones_are_complete():
    long = fit(LONG, 20, 400, 300)
    assert long.lines[-1].endswith(ELLIPSIS) and not long.complete
    assert " ".join(long.lines).removesuffix(ELLIPSIS) == LONG[: len(" ".join(long.lines)) - 1]
    short = fit("a cat on a mat", 20, 80, 300)
    assert short.complete and " ".join(short.lines) == "a cat on a mat"
    assert long.height <= 300 and long.width <= 401


WORDS = st.text(st.sampled_from("abcdefgh ,.()äßé日\n"), max_size=200)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(8, 30), st.integers(40, 400))
def test_wrapping_loses_nothing_and_stays_within_the_width(text, size, width):
    face = lettering.face_for(text)
    lines = wrap(text, size, width, face)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(len(line) == 1 or lettering.font(face, size).getlength(line) <= width for line in lines)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(8, 30), st.integers(40, 400), st.integers(1, 200))
def test_fitted_text_is_complete_or_says_that_it_is_not(text, size, width, height):
    fitted = fit(text, size, width, height)
    shown = "".join("".join(fitted.lines).split())
    whole = "".join(lettering._covered(text, fitted.face).split())
    if fitted.complete:
        assert shown == whole
    else:
        assert shown.endswith((ELLIPSIS, "...")) and whole.startswith(shown.removesuffix(ELLIPSIS).rstrip("."))
    assert len(fitted.lines) <= 1 or fitted.height <= height


def test_letters_no_font_has_become_plain_letters_or_question_marks(monkeypatch):
    monkeypatch.setattr(lettering, "_faces", lambda: (lettering.OWN_FACE,))
    lettering.fit.cache_clear()
    assert fit("G\u00f6\u00dfe \u00e9 \u65e5", 20, 900, 100).lines == ("Go?e e ?",)


def test_missing_pictures_are_drawn_as_missing():
    def entry(missing):
        return Entry((300, 300), lambda: None if missing else Image.new("RGB", (300, 300), (0, 0, 255)))

    whole = Table("t", (), ("r",), ("a", "b"), ((entry(False), entry(True)),))
    page = draw_pages([whole])[0]
    assert places(page, (0, 0, 255))[2:] == (300, 300)
    assert places(page, (0xEE, 0xEE, 0xEE)) is not None


def test_rows_of_different_sizes_leave_no_hole():
    sizes = [(832, 1216), (1216, 832)]
    cells = tuple(
        tuple(Entry(size, lambda size=size: Image.new("RGB", size, (1, 2, 3))) for _ in "ab") for size in sizes
    )
    page = draw_pages([Table("t", (), ("tall", "wide"), ("a", "b"), cells)])[0]
    _, top, _, height = places(page, (1, 2, 3))
    assert page.height - top - height < 60 * max(page.size) / READING_SIDE


def test_a_list_of_images_heads_its_columns_or_captions_each():
    pictures = [Image.new("RGB", (32, 32), (number, 0, 0)) for number in range(6)]
    heads = list_table(pictures, ("a", "b", "c"), 0, "t")
    assert heads.columns == ("a", "b", "c") and len(heads.cells) == 2
    captions = list_table(pictures, [str(number) for number in range(6)], 4, "t", ("x", "y"))
    assert captions.columns == () and captions.rows == ("x", "y")
    assert [entry.caption for row in captions.cells for entry in row if entry] == list("012345")
    assert captions.cells[1][2] is None
    one_row = list_table(pictures, list("abcdef"), 0, "t")
    assert one_row.columns == tuple("abcdef")
    assert len(list_table(pictures * 4, (), 0, "t").cells[0]) == 5
    assert draw_pages([heads])[0].mode == draw_pages([captions])[0].mode == "RGB"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], (), 0, ""), "images: got none"),
        (([Image.new("RGB", (8, 8))] * 4, ("a", "b", "c"), 2, ""), "labels: got 3, allowed 2 .* or 4"),
        (([Image.new("RGB", (8, 8))] * 4, (), 2, "", ("a",)), "row_labels: got 1, allowed 2"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        list_table(*arguments)


class Flat:
    """Renders one colour per checkpoint; counts nothing."""

    text_state = "base"

    def prepare(self, checkpoint, strength):
        self.shade = checkpoint % 100
        return self

    def encode(self, prompt):
        return prompt

    def render(self, cell, positive, negative):
        return np.full((cell.size[1], cell.size[0], 3), (self.shade + 0.5) / 255, dtype=np.float32)


class Silent:
    """Watches and says nothing."""

    def update(self, value, preview=None):
        pass

    def text(self, line):
        pass


def make_sweep(folder, plan):
    weights = Weights({}, {}, {}, {step: str(step) for step in plan.checkpoint})
    return run_sweep(
        folder, plan, weights, Flat(), Silent(), lambda: None, about={"run": "my-run", "trigger": "qzx"}, chunks={}
    )[0]


def test_a_sweeps_tables_have_its_labels_and_pictures_base_first(tmp_path):
    plan = SweepPlan(checkpoint=(20, 3), prompt=("a", LONG), seed=(1, 2), size=((256, 256),))
    tables = sweep_tables(make_sweep(tmp_path, plan))
    assert len(tables) == 2
    first = tables[0]
    assert first.title == "my-run · trigger: qzx" and first.notes[0] == "seed 1" and "256x256" in first.notes[1]
    assert first.columns == ("base (no LoRA)", "step 3", "step 20") and first.rows == ("a", LONG)
    assert first.base_column == 0
    shades = [entry.load().getpixel((0, 0))[0] for entry in first.cells[0]]
    assert shades == [0, 3, 20]


def test_pictures_that_vanish_are_missing_in_the_grid(tmp_path):
    sweep = make_sweep(tmp_path, SweepPlan(checkpoint=(3,), prompt=("a",), size=((256, 256),)))
    list(sweep.cells().values())[1].unlink()
    loaded = [entry.load() for entry in sweep_tables(sweep)[0].cells[0]]
    assert loaded[0] is not None and loaded[1] is None
    draw_pages(sweep_tables(sweep))


def test_pages_are_saved_whole_with_the_graph_and_old_pages_go(tmp_path):
    pages = draw_pages([table(1, 2)] * 3)
    other = tmp_path / "grid-x.png"
    other.write_bytes(b"not ours")
    paths = save_pages(pages, tmp_path, chunks={"workflow": json.dumps({"nodes": []})})
    assert [path.name for path in paths] == ["grid-1.png", "grid-2.png", "grid-3.png"]
    with Image.open(paths[0]) as image:
        assert image.text["workflow"] == '{"nodes": []}' and (np.asarray(image) == np.asarray(pages[0])).all()
    save_pages(pages[:1], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid-1.png", "grid-x.png"]


def test_stems_name_content():
    pages = draw_pages([table(1, 2)])
    assert stem_for(pages, "a/b") == stem_for(draw_pages([table(1, 2)]), "a/b")
    assert stem_for(pages, "t") != stem_for(draw_pages([table(2, 2)]), "t")
    assert "/" not in stem_for(pages, "a/b")


def test_drawing_can_be_interrupted():
    class Cancelled(BaseException):
        pass

    def check():
        raise Cancelled

    with pytest.raises(Cancelled):
        draw_pages([table(1, 1)], check_interrupt=check)
