"""The runner renders what is missing, keeps each picture at once, and meets each LoRA and each prompt once.

Oracles: a fake renderer that counts what it is asked, and for the real one the stock node classes in process.
"""

import json
import os
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from glitch_lora.host.progress import Progress, check_interrupt
from glitch_lora.sampling import cells as cells_module
from glitch_lora.sampling.cells import Weights, cell_key, read_cell, to_picture
from glitch_lora.sampling.lora_renderer import LoraRenderer, sweep_checkpoints
from glitch_lora.sampling.plan import BASE, Cell, SweepPlan
from glitch_lora.sampling.request import SweepTexts, plan_from_texts, sample_settings
from glitch_lora.sampling.sweep import Pace, Sweep, cell_picture, run_sweep
from glitch_lora.training.run import Run
from PIL import Image
from sweep_scene import family, stock_picture, weights_hash, write_run

PLAN = SweepPlan(checkpoint=(900, 1000), prompt=("a", "b"), strength=(0.5, 1.0), negative=("bad",), size=((16, 8),))
WEIGHTS = Weights({"m": 1}, {"c": 1}, {"v": 1}, {900: "x", 1000: "y"})


class Cancelled(BaseException):
    """As ComfyUI's interrupt: not an Exception."""


@dataclass
class FakeRenderer:
    """Grey pictures that tell cells apart; counts its work and can stop like a Cancel."""

    text_encoder: bool = False
    stop_after: int = 10**9
    prepared: list = field(default_factory=list)
    encoded: list = field(default_factory=list)
    rendered: list = field(default_factory=list)

    def prepare(self, checkpoint, strength):
        self.prepared.append((checkpoint, strength))
        return FakePrepared(self, (checkpoint, strength) if self.text_encoder and checkpoint else "base")


@dataclass
class FakePrepared:
    """One state of the fake."""

    work: FakeRenderer
    text_state: object

    def encode(self, prompt):
        self.work.encoded.append((self.text_state, prompt))
        return self.text_state, prompt

    def render(self, cell, positive, negative):
        if len(self.work.rendered) == self.work.stop_after:
            raise Cancelled
        assert positive == (self.text_state, cell.prompt) and negative == (self.text_state, cell.negative)
        self.work.rendered.append(cell)
        shade = (hash(cell) % 200 + 20) / 255
        return np.full((cell.size[1], cell.size[0], 3), shade, dtype=np.float32)


@dataclass
class Watcher:
    """Keeps what it is told."""

    values: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    previews: list = field(default_factory=list)

    def update(self, value, preview=None):
        self.values.append(value)
        self.previews.append(preview)

    def text(self, line):
        self.lines.append(line)


def sweep(folder, plan=PLAN, renderer=None, watcher=None, weights=WEIGHTS, **options):
    renderer, watcher = renderer or FakeRenderer(), watcher or Watcher()
    about = {"run": "my-run", "trigger": "qzx"}
    chunks = {"prompt": json.dumps({"1": {"class_type": "GlitchSweep"}}), "workflow": json.dumps({"nodes": []})}
    done, report = run_sweep(
        folder,
        plan,
        weights,
        renderer,
        watcher,
        options.pop("check", lambda: None),
        about=about,
        chunks=chunks,
        **options,
    )
    return done, report, renderer, watcher


def test_every_picture_is_rendered_once_and_each_lora_applied_once(tmp_path):
    done, _, renderer, _ = sweep(tmp_path)
    assert renderer.rendered == list(PLAN.cells()) and len(renderer.rendered) == PLAN.count == 10
    assert renderer.prepared == [(0, 0.0), (900, 0.5), (900, 1.0), (1000, 0.5), (1000, 1.0)]
    assert all(cell_picture(path).size == (16, 8) for path in done.cells().values())


def test_prompts_are_encoded_once_when_the_lora_has_no_text_encoder(tmp_path):
    _, _, renderer, _ = sweep(tmp_path)
    assert renderer.encoded == [("base", "a"), ("base", "bad"), ("base", "b")]


def test_prompts_are_encoded_once_per_text_encoder_state(tmp_path):
    _, _, renderer, _ = sweep(tmp_path, renderer=FakeRenderer(text_encoder=True))
    assert len(renderer.encoded) == len(set(renderer.encoded)) == 5 * 3


def test_a_repeated_sweep_renders_nothing(tmp_path):
    first, *_ = sweep(tmp_path)
    again, report, renderer, watcher = sweep(tmp_path)
    assert again == first and not renderer.rendered and not renderer.prepared and not renderer.encoded
    assert "All 10 reused from before, nothing to render" in report and watcher.values == [10]


def test_an_interrupted_sweep_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(Cancelled):
        sweep(tmp_path, renderer=FakeRenderer(stop_after=4))
    done, _, renderer, watcher = sweep(tmp_path)
    assert renderer.rendered == list(PLAN.cells())[4:]
    assert watcher.values == [4, 5, 6, 7, 8, 9, 10]
    assert len(done.cells()) == 10


def test_interrupt_is_asked_for_before_every_picture(tmp_path):
    asked = []

    def check():
        asked.append(1)
        if len(asked) > 20:
            raise Cancelled

    with pytest.raises(Cancelled):
        sweep(tmp_path, check=check)
    assert 0 < len(list((tmp_path / "sweeps" / "cells").glob("*.png"))) < 10


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "other", "text", "no chunk"])
def test_a_damaged_picture_is_rendered_again(tmp_path, damage):
    done, *_ = sweep(tmp_path)
    files = list(done.cells().items())
    (cell, path), (_, other) = files[3], files[4]
    content = path.read_bytes()
    if damage == "no chunk":
        Image.new("RGB", (16, 8)).save(path)
    else:
        flipped = bytearray(content)
        flipped[content.index(b"IDAT") + 6] ^= 0xFF
        replacements = {"truncate": content[:-20], "flip": bytes(flipped), "empty": b"", "text": b"hello"}
        path.write_bytes(replacements.get(damage, other.read_bytes()))
    assert cell_picture(path) is None
    _, _, renderer, _ = sweep(tmp_path)
    assert renderer.rendered == [cell]
    assert cell_picture(path) is not None


def test_sweeps_of_a_run_share_pictures(tmp_path):
    sweep(tmp_path)
    wider = replace(PLAN, prompt=("b", "c"), rows="checkpoint", columns="prompt")
    other, _, renderer, _ = sweep(tmp_path, wider)
    assert {cell.prompt for cell in renderer.rendered} == {"c"}
    assert other.folder != sweep(tmp_path)[0].folder


def test_a_checkpoint_trained_anew_is_rendered_anew_and_nothing_else(tmp_path):
    sweep(tmp_path)
    anew = replace(WEIGHTS, checkpoints={900: "x", 1000: "other"})
    assert {cell.checkpoint for cell in sweep(tmp_path, weights=anew)[2].rendered} == {1000}


@pytest.mark.parametrize("part", ["model", "clip", "vae"])
def test_other_weights_are_other_pictures(tmp_path, part):
    cell = PLAN.cells()[-1]
    assert cell_key(cell, WEIGHTS) != cell_key(cell, replace(WEIGHTS, **{part: {"other": 1}}))


def test_every_setting_is_in_the_key():
    cell = PLAN.cells()[-1]
    changes = {
        "strength": 0.7,
        "prompt": "z",
        "negative": "",
        "seed": 9,
        "steps": 9,
        "cfg": 9.0,
        "size": (8, 16),
        "sampler": "ddim",
        "scheduler": "karras",
    }
    keys = {cell_key(replace(cell, **{name: value}), WEIGHTS) for name, value in changes.items()}
    assert len(keys | {cell_key(cell, WEIGHTS)}) == len(changes) + 1


def test_a_picture_is_there_before_the_next_one_is_rendered(tmp_path):
    class Looking(FakeRenderer):
        def prepare(self, checkpoint, strength):
            made = len(list((tmp_path / "sweeps" / "cells").glob("*.png")))
            assert made == len(self.rendered)
            return super().prepare(checkpoint, strength)

    sweep(tmp_path, renderer=Looking())


def test_pictures_carry_settings_and_the_graph(tmp_path):
    done, *_ = sweep(tmp_path)
    cell, path = list(done.cells().items())[-1]
    with Image.open(path) as image:
        about = json.loads(image.text["glitch_lora"])
        assert json.loads(image.text["prompt"])["1"]["class_type"] == "GlitchSweep"
        assert json.loads(image.text["workflow"]) == {"nodes": []}
    assert about["settings"] == cell.to_json() | {"run": "my-run", "trigger": "qzx"}
    assert about["key"] == path.stem and about["seconds"] >= 0


def test_settings_can_be_kept_out_of_pictures(tmp_path):
    done, *_ = sweep(tmp_path, with_settings=False)
    with Image.open(next(iter(done.cells().values()))) as image:
        assert set(json.loads(image.text["glitch_lora"])) == {"key", "seconds"}


def test_the_number_and_later_the_time_are_told_before_the_first_picture(tmp_path):
    watcher = Watcher()

    class Asserting(FakeRenderer):
        def prepare(self, checkpoint, strength):
            assert len(watcher.lines) >= 1
            return super().prepare(checkpoint, strength)

    with pytest.raises(Cancelled):
        sweep(tmp_path, renderer=Asserting(stop_after=4), watcher=watcher)
    assert "10 pictures" in watcher.lines[0] and "time known after the first" in watcher.lines[0]
    watcher = Watcher()
    report = sweep(tmp_path, renderer=FakeRenderer(), watcher=watcher)[1]
    assert "Rendered 6 in 0 s, 4 reused from before." in report and "to render" not in report
    assert "4 are there, 6 to render, about 0 s" in watcher.lines[0]
    assert "Picture 10/10" in watcher.lines[-1] and "0 s left" in watcher.lines[-1]
    assert all(preview.size == (16, 8) for preview in watcher.previews[1:])


def test_the_estimate_follows_pixels_and_steps_and_forgives_the_first_picture():
    pace = Pace()
    one = PLAN.cells()[0]
    big = replace(one, size=(32, 16), steps=40)
    assert pace.seconds([one]) is None
    for seconds in (60.0, 1.0, 1.0):
        pace.measured(one, seconds)
    assert pace.seconds([one, big]) == pytest.approx(1.0 + 8.0)


def test_a_full_disk_keeps_what_is_there_and_says_what_is_needed(tmp_path, monkeypatch):
    real, calls = cells_module.write_bytes, []

    def full(path, content):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "not saved (No space left on device); it needs 1 bytes and 0 bytes are free")
        return real(path, content)

    monkeypatch.setattr(cells_module, "write_bytes", full)
    with pytest.raises(OSError, match="bytes are free"):
        sweep(tmp_path)
    monkeypatch.undo()
    assert len(sweep(tmp_path)[2].rendered) == 8


def test_leftovers_of_a_killed_process_disappear(tmp_path):
    done, *_ = sweep(tmp_path)
    left = tmp_path / "sweeps" / "cells" / "abc.png.123.partial"
    left.write_bytes(b"half")
    sweep(tmp_path)
    assert not left.exists() and len(os.listdir(done.folder)) == 1


def test_a_damaged_manifest_says_what_to_do(tmp_path):
    done, *_ = sweep(tmp_path)
    assert done.plan() == PLAN and done.pages() == PLAN.layout() and done.run_folder == tmp_path
    (done.folder / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match="run the sweep again"):
        done.cells()
    with pytest.raises(ValueError, match="run the sweep again"):
        Sweep(tmp_path / "nowhere").manifest()


def test_pixels_become_bytes_as_in_save_image():
    source = np.random.default_rng(0).uniform(-0.1, 1.1, (5, 7, 3)).astype(np.float32)
    expected = np.clip(255.0 * source, 0, 255).astype(np.uint8)  # nodes.SaveImage.save_images
    assert (np.asarray(to_picture(source)) == expected).all()


def test_texts_default_to_the_runs_own_samples(tmp_path):
    run = write_run(tmp_path, "sd15", family("sd15")[0], steps=(900, 1000))
    plan = plan_from_texts(SweepTexts(), run, ("euler",), ("normal",), 400)
    assert plan == SweepPlan(
        checkpoint=(900, 1000), prompt=("a cat",), seed=(4,), steps=(2,), cfg=(3.0,), size=((64, 64),)
    )


def test_without_sample_prompts_the_trigger_word_is_the_prompt(tmp_path):
    run = write_run(tmp_path, "sd15", family("sd15")[0], recipe={}, trigger="qzx")
    assert plan_from_texts(SweepTexts(), run, ("euler",), ("normal",), 400).prompt == ("qzx",)
    bare = write_run(tmp_path / "bare", "sd15", family("sd15")[0], recipe={}, trigger="")
    with pytest.raises(ValueError, match="prompts: got none"):
        plan_from_texts(SweepTexts(), bare, ("euler",), ("normal",), 400)


def test_a_sweep_by_a_slip_of_the_finger_is_refused(tmp_path):
    run = write_run(tmp_path, "sd15", family("sd15")[0])
    with pytest.raises(ValueError, match=r"got 3003 pictures .*allowed 400, shorten a list or raise max_pictures"):
        plan_from_texts(SweepTexts(seeds="0-1000"), run, ("euler",), ("normal",), 400)


def test_negative_prompts_can_be_compared(tmp_path):
    run = write_run(tmp_path, "sd15", family("sd15")[0])
    negatives = {
        use: plan_from_texts(SweepTexts(negative="bad", negative_use=use), run, ("euler",), ("normal",), 400).negative
        for use in ("with", "without", "with and without")
    }
    assert negatives == {"with": ("bad",), "without": ("",), "with and without": ("bad", "")}
    with pytest.raises(ValueError, match="negative_use: got 'both'"):
        plan_from_texts(SweepTexts(negative_use="both"), run, ("euler",), ("normal",), 400)


def test_a_run_without_a_readable_config_still_has_settings(tmp_path):
    (tmp_path / "config.json").write_text("{ torn")
    assert sample_settings(Run(tmp_path)).steps == 20


@pytest.mark.parametrize("name", ["sd15", "flux"])
def test_a_real_sweep_equals_the_stock_graph_picture_by_picture(name, tmp_path):
    parts = model, clip, vae = family(name)
    run = write_run(tmp_path, name, model, steps=(5, 10, 100), text_encoder=name == "sd15")
    before = weights_hash(model.model, clip.cond_stage_model, vae.first_stage_model)
    texts = SweepTexts(prompts="a (red:1.2) cat\na dog", strengths="0.6, 1", checkpoints="10, 100", negative="bad")
    plan = plan_from_texts(texts, run, ("euler",), ("normal",), 400)
    with torch.inference_mode():
        done, report = sweep_checkpoints(run, plan, *parts, Progress(plan.count), check_interrupt, {})
    assert [cell.state for cell in done.cells()][::2] == [(0, 0.0), (10, 0.6), (10, 1.0), (100, 0.6), (100, 1.0)]
    assert before == weights_hash(model.model, clip.cond_stage_model, vae.first_stage_model)
    for cell, path in done.cells().items():
        lora = None if cell.checkpoint == BASE else run.checkpoint(cell.checkpoint).path
        expected = stock_picture(*parts, lora, cell)[0].numpy()
        assert (np.asarray(cell_picture(path)) == np.asarray(to_picture(expected))).all(), cell
    assert "10 pictures" in report
    with torch.inference_mode():
        again = sweep_checkpoints(run, plan, *parts, Progress(plan.count), check_interrupt, {})[1]
    assert "nothing to render" in again


@pytest.mark.parametrize(("text_encoder", "encodings"), [(False, 2), (True, 6)])
def test_the_real_text_encoder_runs_once_per_prompt_and_state(tmp_path, monkeypatch, text_encoder, encodings):
    parts = model, clip, vae = family("sd15")
    run = write_run(tmp_path, "sd15", model, text_encoder=text_encoder)
    plan = plan_from_texts(SweepTexts(prompts="a cat", seeds="1,2"), run, ("euler",), ("normal",), 400)
    counted = []
    forward = type(clip.cond_stage_model).encode_token_weights

    def counting(self, tokens):
        counted.append(tokens)
        return forward(self, tokens)

    monkeypatch.setattr(type(clip.cond_stage_model), "encode_token_weights", counting)
    with torch.inference_mode():
        sweep_checkpoints(run, plan, *parts, Progress(plan.count), check_interrupt, {})
    assert len(counted) == encodings


def test_weights_are_restored_after_a_cancel(tmp_path):
    parts = model, clip, vae = family("sd15")
    run = write_run(tmp_path, "sd15", model, text_encoder=True)
    before = weights_hash(model.model, clip.cond_stage_model)
    plan = plan_from_texts(SweepTexts(), run, ("euler",), ("normal",), 400)

    class CancelAtSecond(Watcher):
        def update(self, value, preview=None):
            if value == 2:
                assert before != weights_hash(model.model, clip.cond_stage_model), "no LoRA is merged: proves nothing"
                raise Cancelled

    with torch.inference_mode(), pytest.raises(Cancelled):
        sweep_checkpoints(run, plan, *parts, CancelAtSecond(), check_interrupt, {})
    assert before == weights_hash(model.model, clip.cond_stage_model)


def test_a_lora_of_another_family_is_refused_with_the_reason(tmp_path):
    run = write_run(tmp_path, "flux", family("flux")[0])
    files = {checkpoint.step: checkpoint.path for checkpoint in run.checkpoints()}
    with pytest.raises(ValueError, match="connect the model it was trained on"):
        LoraRenderer(*family("sd15"), files).prepare(5, 1.0)


def test_a_missing_picture_is_none(tmp_path):
    assert read_cell(tmp_path / "x.png", "x") is None


def test_a_cell_knows_the_embedding_files_its_prompts_name():
    """Without this a sweep made before the file was installed would be shown for good."""
    cell = replace(CELL_WITH_EMBEDDING, negative="")
    without = cell_key(cell, WEIGHTS)
    missing = cell_key(cell, replace(WEIGHTS, embeddings={"rust": None}))
    there = cell_key(cell, replace(WEIGHTS, embeddings={"rust": "hash"}))
    assert len({without, missing, there}) == 3
    other = replace(cell, prompt="a cat")
    assert cell_key(other, WEIGHTS) == cell_key(other, replace(WEIGHTS, embeddings={"rust": "hash"}))


CELL_WITH_EMBEDDING = Cell(BASE, 0.0, "a cat, embedding:rust", "", 0, 2, 1.0, (64, 64), "euler", "normal")
