"""How far a run moved the text encoders. Oracles: CLIPTextEncode with the changed weights put in by hand, and torch."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from glitch_lora.host.probe_outputs import ProbeEncoder
from glitch_lora.sampling.drift_plot import colour, plot_text_drift
from glitch_lora.sampling.drift_report import drift_report, figure, percent, probe_table, word_table
from glitch_lora.sampling.probes import BUILT_IN, Probe, probes_from
from glitch_lora.sampling.text_drift import TextDrift, measure_text_drift
from glitch_lora.sampling.word_drift import VectorDrift, measure_word_drift
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.run import Run, RunWriter, content_key
from glitch_lora.training.text_settings import EmbeddingSettings
from glitch_lora.training.words import bundled
from tiny_models import tiny_clip

from nodes import CLIPTextEncode

TEXTS = ("statue", "ghost", "a red car", "house", "tree", "of", "blue", "an old street at night")
LAYER = "text_model.encoder.layers.1.mlp.fc1"


def run_with(folder: Path, checkpoints: dict[int, dict[str, torch.Tensor]], *words: EmbeddingSettings) -> Run:
    """Write a run with these checkpoints, whose recipe learns these words."""
    config = {"trigger": "gl1tch", "recipe": Recipe(embeddings=words, seed=5).to_json()}
    writer = RunWriter.create(folder, content_key(str(folder)), "drift", config)
    for step, tensors in checkpoints.items():
        writer.save_checkpoint(step, tensors, {})
    return writer.run


def scaling_lora(clip: Any, factor: float) -> dict[str, torch.Tensor]:
    """Return a LoRA of full rank that multiplies one layer's weight by `factor`."""
    weight = clip.cond_stage_model.clip_l.transformer.get_submodule(LAYER).weight.detach()
    name = f"lora_te_{LAYER.replace('.', '_')}"
    down = torch.eye(weight.shape[1])
    alpha = torch.tensor(float(weight.shape[1]))
    return {
        f"{name}.lora_down.weight": down,
        f"{name}.lora_up.weight": weight * (factor - 1),
        f"{name}.alpha": alpha,
    }


def measured(run: Run, clip: Any, texts: Sequence[str] = TEXTS, count: int = 3) -> TextDrift:
    steps = [each.step for each in run.checkpoints()]
    with ProbeEncoder(clip, run.tokens) as encoder:
        return measure_text_drift(run, steps, probes_from("\n".join(texts), (run.trigger, *run.tokens)), encoder, count)


def encoded(clip: Any, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a text's own tokens in CLIPTextEncode's conditioning, and its pooled output, in double precision."""
    count = sum(entry[2] > 0 for entry in clip.tokenize(text, return_word_ids=True)["l"][0])
    [[cond, extra]] = CLIPTextEncode().encode(clip, text)[0]
    return cond[0, 1 : count + 1].double(), extra["pooled_output"][0].double()


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextDrift, Any]:
    clip = tiny_clip("sd15")
    checkpoints = {10: scaling_lora(clip, 1.0), 20: scaling_lora(clip, 3.0)}
    return measured(run_with(tmp_path_factory.mktemp("scaled"), checkpoints), clip), clip


def test_an_untrained_run_has_no_drift(scaled: tuple[TextDrift, Any]) -> None:
    found, _ = scaled
    rows = found.at(10, "clip_l")
    assert len(rows) == len(TEXTS) + 1
    assert all(row.sequence == row.pooled == row.own == 0 and row.kept == 1 for row in rows)
    assert all(row.before == row.nearest and row.gone == row.came == () for row in rows)
    assert found.means()[0] == found.common[10, "clip_l"] == found.common_share(10, "clip_l") == 0


def test_a_scaled_layer_moves_what_clip_text_encode_says(scaled: tuple[TextDrift, Any]) -> None:
    """One layer's weight times three, in the file as a LoRA and in another encoder by hand."""
    found, clip = scaled
    changed = tiny_clip("sd15")  # the same weights, not shared
    layer = changed.cond_stage_model.clip_l.transformer.get_submodule(LAYER)
    layer.weight.data *= 3
    cosine = torch.nn.functional.cosine_similarity
    sequence = []
    for row in found.at(20, "clip_l")[1:]:
        (own, pooled), (own_after, pooled_after) = encoded(clip, row.probe.text), encoded(changed, row.probe.text)
        assert row.sequence == pytest.approx(float((1 - cosine(own, own_after)).mean()), rel=1e-4)
        assert row.pooled == pytest.approx(float(1 - cosine(pooled, pooled_after, dim=0)), rel=1e-4)
        assert row.sequence > 1e-3
        sequence.append(row.sequence)
    assert found.means()[1] == found.mean(20, "clip_l") == pytest.approx(np.mean(sequence))
    own_mean = found.mean(20, "clip_l", "own")
    assert found.common[20, "clip_l"] + own_mean == pytest.approx(np.mean(sequence), rel=1e-9)


def test_neighbours_are_sought_among_the_other_probes(scaled: tuple[TextDrift, Any]) -> None:
    found, clip = scaled
    directions = {}
    for row in found.at(20, "clip_l"):
        own = torch.nn.functional.normalize(encoded(clip, row.probe.text)[0], dim=1).mean(0)
        directions[row.probe.text] = torch.nn.functional.normalize(own, dim=0)
    mean = torch.stack([directions[text] for text in TEXTS]).mean(0)
    for row in found.at(20, "clip_l"):
        near = {
            text: float(torch.cosine_similarity(directions[row.probe.text] - mean, direction - mean, dim=0))
            for text, direction in directions.items()
            if text != row.probe.text
        }
        assert row.before == tuple(sorted(near, key=lambda text: -near[text])[:3])
        same = len(set(row.before) & set(row.nearest))
        assert row.kept == pytest.approx(same / (6 - same))


def test_encoders_are_told_apart(tmp_path: Path) -> None:
    """SDXL with a LoRA on CLIP-G alone."""
    name = "lora_te2_text_model_encoder_layers_0_self_attn_v_proj"
    random = torch.Generator().manual_seed(0)
    lora = {
        f"{name}.lora_down.weight": torch.randn(2, 32, generator=random),
        f"{name}.lora_up.weight": torch.randn(32, 2, generator=random),
        f"{name}.alpha": torch.tensor(2.0),
    }
    found = measured(run_with(tmp_path, {1: lora}), tiny_clip("sdxl"))
    assert found.encoders == found.pooled == ("clip_l", "clip_g")
    assert found.mean(1, "clip_l") == found.mean(1, "clip_l", "pooled") == 0
    assert found.mean(1, "clip_g") > 1e-3 and found.mean(1, "clip_g", "pooled") > 1e-3
    report = drift_report(found, ())
    assert "clip_l is as it was" in report and "clip_g: words have " in report
    assert "clip_l (not projected) and clip_g (projected)" in report
    heads = [line for line in probe_table(found, "Markdown").splitlines() if line.startswith("clip_")]
    assert [head.split(", step 1, common to all: ")[0] for head in heads] == ["clip_l", "clip_g"]


def test_words_from_their_start_on(tmp_path: Path) -> None:
    """The start is the table's rows for the words of init_text; lengths are in medians of the table."""
    clip = tiny_clip("sd15")
    table = clip.cond_stage_model.clip_l.transformer.get_input_embeddings().weight.detach()
    red, circle = clip.tokenize("red circle")["l"][0][1:3]
    start = torch.stack([table[red[0]], table[circle[0]]])
    cat = table[clip.tokenize("cat")["l"][0][1][0]]
    learnt = torch.stack([start[0] * 2, cat])
    run = run_with(
        tmp_path,
        {5: bundled({"prtkl": {"clip_l": learnt}})},
        EmbeddingSettings("prtkl", num_vectors=2, init_text="red circle"),
    )
    with ProbeEncoder(clip, run.tokens) as encoder:
        words = measure_word_drift(run, [5], encoder, 2)
    assert [(each.step, each.number, each.since) for each in words] == [(0, 1, 0), (0, 2, 0), (5, 1, 0), (5, 2, 0)]
    assert [each.near[0].word for each in words] == ["red", "circle", "red", "cat"]
    median = float(table.norm(dim=1).median())
    for each, value, origin in zip(words, [*start, *learnt], [*start, *start], strict=True):
        assert each.length == pytest.approx(float(value.norm()) / median, rel=1e-3)
        assert each.moved == pytest.approx(float((value - origin).norm()) / median, rel=1e-5)
        assert each.cosine == pytest.approx(float(torch.cosine_similarity(value, origin, dim=0)), abs=1e-5)
    rows = list(csv.DictReader(io.StringIO(word_table(words, "CSV"))))
    assert [row["near"].split()[0] for row in rows] == ["red", "circle", "red", "cat"]
    report = drift_report(measured(run, clip), words)
    assert "prtkl, clip_l vector 2: " in report and ", near cat 1.00" in report
    assert "clip_l is as it was: no text without a learnt word has moved." in report


@pytest.mark.parametrize("damaged", [True, False])
def test_a_start_that_is_not_known_is_the_first_checkpoint(tmp_path: Path, damaged: bool) -> None:
    """A word that went on from a file, and a run without a readable config.json."""
    states = {step: bundled({"prtkl": {"clip_l": torch.full((1, 64), float(step))}}) for step in (3, 6, 9)}
    run = run_with(tmp_path, states, EmbeddingSettings("prtkl", init="file", init_file="gone.pt"))
    if damaged:
        (run.folder / "config.json").write_text("{")
    with ProbeEncoder(tiny_clip("sd15"), run.tokens) as encoder:
        words = measure_word_drift(run, [6, 9], encoder, 1)
    assert [(each.step, each.since) for each in words] == [(6, 3), (9, 3)]
    assert words[1].moved == pytest.approx(2 * words[0].moved) and words[0].cosine == pytest.approx(1)


class Blown:
    """An encoder that a training blew up: no finite number after it."""

    encoders = ("clip_l",)

    def __init__(self, probes: int) -> None:
        self._outputs = [
            {"clip_l": _Output(torch.randn(1, 4, generator=torch.Generator().manual_seed(number)).numpy())}
            for number in range(probes)
        ]

    def before(self, texts: Sequence[str], heard: Any) -> Any:
        return self._outputs

    def after(self, tensors: Any, texts: Sequence[str], heard: Any) -> Any:
        return [{"clip_l": _Output(each["clip_l"].sequence * np.nan)} for each in self._outputs]


class _Output:
    def __init__(self, sequence: Any) -> None:
        self.sequence, self.pooled, self.pieces = sequence, None, (1,)


def test_a_training_that_blew_up_is_told(tmp_path: Path) -> None:
    run = run_with(tmp_path, {1: {"x": torch.zeros(1)}})
    probes = [Probe(text, "own") for text in TEXTS]
    found = measure_text_drift(run, [1], probes, Blown(len(probes)), 2)
    assert all(np.isnan(row.sequence) and np.isnan(row.pooled) and row.nearest == () for row in found.rows)
    assert "clip_l gives no finite numbers any more" in drift_report(found, ())
    assert "| - |" in probe_table(found, "Markdown")
    assert list(csv.DictReader(io.StringIO(probe_table(found, "CSV"))))[0]["sequence_drift"] == ""
    assert plot_text_drift(found, (), 640, 480).size == (640, 480)


def test_the_table_says_what_was_measured(scaled: tuple[TextDrift, Any]) -> None:
    found, _ = scaled
    rows = list(csv.DictReader(io.StringIO(probe_table(found, "CSV"))))
    assert [(int(row["step"]), row["probe"]) for row in rows] == [(row.step, row.probe.text) for row in found.rows]
    for row, told in zip(found.rows, rows, strict=True):
        assert float(told["sequence_drift"]) == pytest.approx(row.sequence, rel=1e-6)
        assert told["neighbours_after"].split("; ") == list(row.nearest)
    text = probe_table(found, "Markdown")
    lines = [line for line in text.splitlines() if line.startswith("| own ")]
    drifts = [float(line.split("|")[3]) for line in lines]
    assert len(lines) == len(TEXTS) and drifts == sorted(drifts, reverse=True)
    assert word_table((), "CSV") == ""


def test_the_report_names_what_moved_most(scaled: tuple[TextDrift, Any]) -> None:
    found, _ = scaled
    report = drift_report(found, ())
    most = max((row for row in found.at(20, "clip_l") if not row.probe.learnt), key=lambda row: row.sequence)
    assert f"Moved most: {most.probe.text} {figure(most.sequence)}" in report
    for row in found.at(20, "clip_l"):
        if row.nearest[0] != row.before[0] and not row.probe.learnt:
            assert f"'{row.probe.text}' is now nearest to '{row.nearest[0]}' (before: '{row.before[0]}')" in report


def test_the_picture_is_coloured_by_drift(scaled: tuple[TextDrift, Any]) -> None:
    found, _ = scaled
    picture = plot_text_drift(found, (), 800, 600)
    used = {code for _, code in picture.getcolors(1 << 20)}
    share = found.share(found.mean(20, "clip_l"), "clip_l")
    assert tuple(int(colour(share)[start : start + 2], 16) for start in (1, 3, 5)) in used
    many = [VectorDrift("prtkl", "clip_l", 20, number, 1.0, 0.5, 0.9, (), 10) for number in range(1, 17)]
    for size in ((512, 384), (1200, 900)):
        assert plot_text_drift(found, many, *size).size == size


def test_colours_run_from_white_to_dark() -> None:
    shares = (0, 1e-9, 1e-3, 1e-2, 0.1, 0.5, 1.0, 5.0)
    light = [sum(int(colour(share)[start : start + 2], 16) for start in (1, 3, 5)) for share in shares]
    assert light == sorted(light, reverse=True) and light[0] == 3 * 255
    assert colour(1.0) == colour(5.0) and colour(1e-9) == colour(1e-3)
    assert colour(float("nan")) == "#d9d9d9"


def test_probes() -> None:
    assert probes_from("", ()) == tuple(Probe(text, kind) for kind, texts in BUILT_IN for text in texts)
    assert probes_from("dog\n\n# wild\n bear \ndog\n#\ncar\n# learnt\nx", ("gl1tch", "", "gl1tch")) == (
        Probe("gl1tch", "learnt"),
        Probe("dog", "own"),
        Probe("bear", "wild"),
        Probe("car", "own"),
        Probe("x", "own"),
    )
    with pytest.raises(ValueError, match="probes: got headings alone"):
        probes_from("# wild", ("gl1tch",))


def test_built_in_words_are_one_token_each() -> None:
    clip = tiny_clip("sd15")
    words = [text for kind, texts in BUILT_IN for text in texts if kind != "prompts"]
    assert len(words) == len(set(words)) and sum(len(texts) for _, texts in BUILT_IN) == 82
    for word in words:
        assert sum(entry[2] > 0 for entry in clip.tokenize(word, return_word_ids=True)["l"][0]) == 1, word


def test_numbers_for_people() -> None:
    assert [figure(value) for value in (0, 0.01234, 1.5, 0.00012, float("nan"))] == [
        "0",
        "0.0123",
        "1.5",
        "1.2e-04",
        "-",
    ]
    assert [percent(value) for value in (0, 0.004, 0.034, 1.5, float("nan"))] == ["0%", "0.4%", "3%", "150%", "-"]
