"""A sweep's figures: every picture against the base at the same prompt, seed and settings.

The sweep is rendered by a fake that adds known grain to real photographs, so the figures are known.
"""

import json
from dataclasses import dataclass

import numpy as np
import pytest
from glitch_lora.metrics.diversity import vendi_score
from glitch_lora.metrics.registry import compare, measure, to_array
from glitch_lora.metrics.tables import as_table, chosen, groups, measure_set
from glitch_lora.sampling.cells import Weights
from glitch_lora.sampling.plan import BASE, Cell, SweepPlan
from glitch_lora.sampling.scores import plot_scores, score_sweep, score_table, write_scores
from glitch_lora.sampling.sweep import Sweep, cell_picture, run_sweep
from photographs import photograph

PROMPTS = ("chelsea", "coffee", "rocket")
WEIGHTS = Weights({"m": 1}, {"c": 1}, {"v": 1}, {step: f"x{step}" for step in (10, 20, 30)})


@dataclass
class Grainy:
    """Renders the photograph a prompt names, with grain of step times strength levels."""

    text_state: object = "one"

    def prepare(self, checkpoint, strength):
        return self

    def encode(self, prompt):
        return prompt

    def render(self, cell, positive, negative):
        pixels = np.asarray(photograph(cell.prompt).resize(cell.size), np.float32)
        source = np.random.Generator(np.random.PCG64(cell.seed))
        grain = source.normal(0, cell.checkpoint * cell.strength, (*pixels.shape[:2], 1))
        return (pixels + grain).clip(0, 255) / 255


class Quiet:
    def __init__(self):
        self.values = []

    def update(self, value, preview=None):
        self.values.append(value)

    def text(self, line):
        pass


def sweep(folder, checkpoint=(10, 20), strength=(0.5, 1.0), **more) -> Sweep:
    axes = {"prompt": PROMPTS} | more
    plan = SweepPlan(checkpoint=checkpoint, strength=strength, size=((64, 48),), **axes)
    done, _ = run_sweep(folder, plan, WEIGHTS, Grainy(), Quiet(), lambda: None, about={"run": "r"}, chunks={})
    return done


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    done = sweep(tmp_path_factory.mktemp("run"))
    watcher = Quiet()
    scores = score_sweep(done, chosen("all"), watcher)
    assert watcher.values == list(range(1, 16))
    return done, scores


def test_every_picture_is_measured_and_compared_with_its_own_base(scored):
    done, scores = scored
    assert list(scores.cells) == list(done.cells()) and scores.missing == 0
    pictures = {cell: to_array(cell_picture(path)) for cell, path in done.cells().items()}
    for cell, values in scores.cells.items():
        base = pictures[Cell(**(vars(cell) | {"checkpoint": BASE, "strength": 0.0}))]
        assert values == measure(pictures[cell]) | compare(pictures[cell], base)
    assert all(values["distance"] == 0 for cell, values in scores.cells.items() if cell.checkpoint == BASE)


def test_means_are_over_prompts_at_each_step_and_strength(scored):
    states = scored[1].states()
    assert list(states) == [(0, 0.0), (10, 0.5), (10, 1.0), (20, 0.5), (20, 1.0)]
    noise = [states[state]["noise"] for state in states]
    assert noise == sorted(noise[:2]) + noise[2:] and noise[4] > noise[2] > noise[1] > noise[0]
    values = [values["noise"] for cell, values in scored[1].cells.items() if cell.state == (20, 1.0)]
    assert states[20, 1.0]["noise"] == pytest.approx(np.mean(values))


def test_pictures_of_a_state_are_told_apart_together(tmp_path, scored):
    """Oracle: the metric on the state's own pictures. A checkpoint that draws one thing only is seen by it."""
    done, scores = scored
    files = done.cells()
    for state, values in scores.states().items():
        pictures = [to_array(cell_picture(path)) for cell, path in files.items() if cell.state == state]
        assert values["vendi_score"] == vendi_score(pictures) and len(pictures) == 3
    alone = score_sweep(done, chosen("diversity"))
    assert alone.states()[20, 1.0] == {
        name: scores.states()[20, 1.0][name] for name in ("mean_difference", "vendi_score")
    }
    assert "Distinct pictures" in score_table(alone) and plot_scores(alone).width == 1200
    one = sweep(tmp_path, (10,), (1.0,), prompt=PROMPTS[:1])
    with pytest.raises(ValueError, match="metrics: got nothing that can be said of these pictures"):
        score_sweep(one, chosen("diversity"))


def test_the_report_names_what_was_done(scored):
    report = score_table(scored[1])
    assert "15 pictures measured" in report and "base (no LoRA)" in report and "step 20 x1" in report
    assert "not ranked: 3 pictures of the base" in report and "Moved most" not in report
    assert max(scored[1].profile()[20, 1.0].values(), key=abs) > 3
    assert scored[1].profile()[20, 1.0]["noise"] > scored[1].profile()[10, 0.5]["noise"] > 0


def test_what_moved_most_is_ranked_from_eight_pictures_of_the_base(tmp_path):
    enough = score_sweep(sweep(tmp_path, (10,), (1.0,), seed=(1, 2, 3)), chosen("detectors"))
    assert "Moved most" in score_table(enough) and "not ranked" not in score_table(enough)


def test_files_are_written_beside_the_sweep(scored):
    done, scores = scored
    write_scores(done, scores)
    written = json.loads((done.folder / "scores.json").read_text("utf-8"))
    assert len(written["cells"]) == 15 and len(written["states"]) == 5
    assert Cell.from_json(written["cells"][3]["cell"]) == list(scores.cells)[3]
    assert written["cells"][3]["values"] == pytest.approx(list(scores.cells.values())[3])
    assert written["metrics"]["noise"]["unit"] == "sigma, 0 to 255"
    assert (done.folder / "scores.txt").read_text("utf-8") == score_table(scores) + "\n"
    assert {path.name for path in done.folder.iterdir()} == {"manifest.json", "scores.json", "scores.txt"}


def test_the_plot_has_a_curve_for_each_strength(scored):
    plot = plot_scores(scored[1])
    assert plot.width == 1200 and len(plot.getcolors(1 << 24)) > 50
    alone = plot_scores(type(scored[1])(scored[1].cells, 0, scored[1].metrics[:3]))
    assert alone.height < plot.height


def test_strengths_of_one_step_are_plotted_over_the_strength(tmp_path):
    scores = score_sweep(sweep(tmp_path, (30,), (0.25, 0.5, 1.0)), chosen("noise"))
    assert plot_scores(scores).width == 1200
    assert not any("distance" in values for values in scores.cells.values())


def test_a_missing_picture_is_counted_and_a_missing_base_compares_with_nothing(tmp_path):
    done = sweep(tmp_path, (10,), (1.0,))
    files = done.cells()
    for cell, path in files.items():
        if cell.prompt == "coffee" and cell.checkpoint == BASE:
            path.unlink()
    scores = score_sweep(done, chosen("detectors"))
    (alone,) = (values for cell, values in scores.cells.items() if cell.prompt == "coffee")
    assert scores.missing == 1 and "distance" not in alone and "noise" in alone
    assert "1 missing" in score_table(scores)
    for path in files.values():
        path.unlink(missing_ok=True)
    with pytest.raises(ValueError, match="got no picture that can be read"):
        score_sweep(done, chosen("detectors"))


def test_cancel_ends_the_scoring(tmp_path):
    class Cancelled(BaseException):
        pass

    def check():
        raise Cancelled

    with pytest.raises(Cancelled):
        score_sweep(sweep(tmp_path, (10,), (1.0,)), chosen("noise"), check=check)


def test_groups_hold_every_metric():
    names = {metric.name for group in groups() if group not in ("all", "detectors") for metric in chosen(group)}
    assert names == {metric.name for metric in chosen("all")} and {"blur", "vendi_score", "distance"} <= names
    with pytest.raises(ValueError, match="metrics: got 'taste', allowed detectors, all"):
        chosen("taste")


def test_pictures_are_compared_with_one_or_with_their_own():
    pictures = [to_array(photograph(name).resize((40, 40))) for name in PROMPTS]
    rows, whole = measure_set(pictures, pictures, chosen("all"))
    assert [row["distance"] for row in rows] == [0, 0, 0] and whole["vendi_score"] > 1
    rows, _ = measure_set(pictures, pictures[:1], chosen("similarity"))
    assert rows[0]["distance"] == 0 < rows[1]["distance"]
    rows, whole = measure_set(pictures[:1], [], chosen("all"))
    assert "distance" not in rows[0] and whole == {}
    with pytest.raises(ValueError, match="compare_with: got 2, allowed 1 or 3"):
        measure_set(pictures, pictures[:2], chosen("noise"))
    with pytest.raises(ValueError, match="images: got none"):
        measure_set([], [], chosen("noise"))


def test_tables_are_aligned():
    table = as_table({"image 1": {"noise": 12.345, "palette": 1234.0}, "second": {"noise": 0.00001}})
    first, noise, palette = table.splitlines()
    assert len(first) == len(noise) == len(palette)
    assert noise.split()[-2:] == ["12.3", "0"] and palette.split()[-2:] == ["1234", "-"]
