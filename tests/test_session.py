"""Whole trainings on tiny models of ComfyUI's own classes and real photographs.

Oracles: equality of tensors between runs (the same training must be the same training), hashes of what goes in, and
for the files ComfyUI's own LoRA loader and sampling function.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.sd
import pytest
import torch
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.derived import with_copies
from glitch_lora.glitch.step import corruption
from glitch_lora.host.encoding import encode_text
from glitch_lora.host.identity import hash_tensors, unpatched_weights
from glitch_lora.host.lora_keys import unmatched_keys
from glitch_lora.host.models import private_model
from glitch_lora.sampling.request import sample_settings
from glitch_lora.training import session
from glitch_lora.training.adapters import LoraAdapters
from glitch_lora.training.conditioning import SizeConditioning
from glitch_lora.training.loop import NotFinite
from glitch_lora.training.lora_file import FAMILY_WORDS, load_safetensors, lora_state_dict, save_safetensors
from glitch_lora.training.recipe import Recipe, SampleSettings
from glitch_lora.training.run import Run
from glitch_lora.training.session import Outcome, train
from test_private_model import as_sampled, noisy
from tiny_models import tiny_clip
from training_scene import MODELS, Events, graph, photographs, recipe, request

Interrupted = comfy.model_management.InterruptProcessingException


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return photographs(tmp_path_factory.mktemp("photographs"))


def run_in_a_node(*arguments: Any) -> Outcome:
    """Train as ComfyUI runs a node: in inference mode."""
    with torch.inference_mode():
        return train(*arguments)


def last_tensors(outcome: Outcome) -> dict[str, torch.Tensor]:
    return load_safetensors(outcome.run.checkpoint(outcome.step).path)[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("family", MODELS)
def test_stock_lora_loader_reproduces_the_in_training_forward(family: str, tmp_path: Path) -> None:
    """ComfyUI's own loader on our file, within 1e-5 in fp32, every key matched, all linear and conv layers."""
    model, clip = MODELS[family](), tiny_clip(family)
    x_t = noisy(family, 4)
    sigma = model.get_model_object("model_sampling").sigmas[500:501].clone()
    with private_model(model) as copy, torch.no_grad():
        names = copy.lora_names()
        layers = copy.layers("all-linear+conv")
        adapters = LoraAdapters(copy.network, layers, rank=4, alpha=2.0, dropout=0.3, seed=0)
        generator = torch.Generator().manual_seed(5)
        for parameter in adapters.named_parameters().values():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
        adapters.train(False)
        copy.load()
        conditions = copy.conditions(encode_text(clip, "a cat"), x_t, SizeConditioning((64, 64), (0, 0), (64, 64)))
        trained = copy.denoise(x_t, sigma, [conditions])
        tensors = lora_state_dict(adapters.exported(), names, FAMILY_WORDS[family].style, torch.float32)
    path = save_safetensors(tmp_path / "lora.safetensors", tensors, {})
    loaded = load_safetensors(path)[0]
    assert len(loaded) == 3 * len(layers)
    assert unmatched_keys(model, None, loaded) == []
    with torch.inference_mode():
        patched, _ = comfy.sd.load_lora_for_models(model, None, loaded, 1.0, 0.0)
        stock = as_sampled(patched, x_t, sigma, clip, "a cat")
        base = as_sampled(model, x_t, sigma, clip, "a cat")
    assert (stock - trained).abs().max() <= 1e-5
    assert (stock - base).abs().max() > 1e-3


@pytest.mark.parametrize("family", MODELS)
def test_the_same_graph_trains_to_the_same_bits(
    family: str, dataset: Dataset, tmp_path: Path, unchanged_random_state: None
) -> None:
    settings = recipe(batch_size=2, lora_dropout=0.2, caption_dropout=0.3, target_modules="all-linear")
    first = run_in_a_node(graph(family), dataset, settings, request(tmp_path / "a"), Events())
    with torch.random.fork_rng():
        torch.manual_seed(123)  # whatever the global generators hold must not matter
        second = run_in_a_node(graph(family), dataset, settings, request(tmp_path / "b"), Events())
    assert same(last_tensors(first), last_tensors(second))
    assert first.run.losses() == second.run.losses()
    ups = [v for key, v in last_tensors(first).items() if key.endswith(("lora_up.weight", "lora_B.weight"))]
    moved = [up for up in ups if up.abs().max() > 0]
    assert len(moved) == len(last_tensors(first)) // 3, "every adapter must have learned something"
    other = run_in_a_node(graph(family), dataset, settings.changed(seed=1), request(tmp_path / "a"), Events())
    assert not same(last_tensors(first), last_tensors(other))


@pytest.fixture(scope="module")
def straight(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Eight steps in one go."""
    return run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path_factory.mktemp("straight")), Events())


LONG_RECIPE = recipe(steps=8, batch_size=2, checkpoint_every=3, lora_dropout=0.2, caption_dropout=0.3)


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_stopping_anywhere_and_going_on_is_the_same_training(
    stop_at: int, dataset: Dataset, straight: Outcome, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), Events(stop_at=stop_at))
    events = Events()
    outcome = run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), events)
    assert events.steps == list(range(stop_at + 1, 9)), "it must go on, not start again"
    assert same(last_tensors(outcome), last_tensors(straight))
    assert outcome.run.losses() == straight.run.losses()


def test_after_a_kill_it_goes_on_from_the_last_saved_state(
    dataset: Dataset, straight: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves no time to save: the state of step 3 is the newest, steps 4 and 5 are trained again."""
    monkeypatch.setattr(session.RunWriter, "save_state", _failing_after(3, session.RunWriter.save_state))
    with pytest.raises(SystemExit):
        run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), Events(stop_at=5))
    monkeypatch.undo()
    events = Events()
    outcome = run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), events)
    assert events.steps == list(range(4, 9))
    assert same(last_tensors(outcome), last_tensors(straight))
    assert outcome.run.losses() == straight.run.losses()


def _failing_after(step: int, save: Any) -> Any:
    def save_or_die(writer: Any, at: int, *rest: Any) -> Any:
        if at > step:
            raise SystemExit("killed")
        return save(writer, at, *rest)

    return save_or_die


def test_a_part_per_queue_is_the_same_training(dataset: Dataset, straight: Outcome, tmp_path: Path) -> None:
    steps = []
    for _ in range(4):
        part = request(tmp_path, mode="steps per queue", steps_per_queue=3)
        outcome = run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, part, Events())
        steps.append(outcome.step)
    assert steps == [3, 6, 8, 8]
    assert same(last_tensors(outcome), last_tensors(straight))


def test_more_steps_continue_and_fewer_return_that_step(dataset: Dataset, straight: Outcome, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(straight.run.folder.parent, folder / "runs")
    events = Events()
    more = run_in_a_node(graph("sd15"), dataset, LONG_RECIPE.changed(steps=10), request(folder), events)
    assert (more.step, events.steps) == (10, [9, 10])
    events = Events()
    fewer = run_in_a_node(graph("sd15"), dataset, LONG_RECIPE.changed(steps=3), request(folder), events)
    assert (fewer.step, fewer.run, events.steps) == (3, more.run, [])
    between = run_in_a_node(graph("sd15"), dataset, LONG_RECIPE.changed(steps=5), request(folder), Events())
    assert between.step == 3 and "no checkpoint at 5" in between.report


def test_fewer_steps_than_the_first_checkpoint_do_not_train(dataset: Dataset, tmp_path: Path) -> None:
    whole = recipe(steps=6, checkpoint_every=0)
    run_in_a_node(graph("sd15"), dataset, whole, request(tmp_path), Events())
    events = Events()
    fewer = run_in_a_node(graph("sd15"), dataset, whole.changed(steps=3), request(tmp_path), events)
    assert (fewer.step, fewer.total_steps, events.lines) == (6, 3, [])
    assert "step 6 is handed over" in fewer.report
    assert fewer.run.config()["total_steps"] == 6


def test_a_damaged_state_is_told_before_it_starts_again(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), Events(stop_at=3))
    (state,) = (tmp_path / "runs").rglob("state-*.safetensors")
    state.write_bytes(state.read_bytes()[:50])
    events = Events(stop_at=1)
    with pytest.raises(Interrupted):
        run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), events)
    assert any("state of step 3 skipped" in line for line in events.lines)
    assert any("starting again from step 1" in line for line in events.lines)


def test_the_model_is_on_its_device_before_the_optimizer_gets_its_state(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the optimizer's state goes where the parameters are when it is loaded: it must be their last place."""
    from glitch_lora.host.models import TrainingModel

    with pytest.raises(Interrupted):
        run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), Events(stop_at=3))
    calls: list[str] = []
    for owner, name in ((TrainingModel, "load"), (session.Training, "__init__"), (session.Training, "load_state")):
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, _r=real, _n=name: (calls.append(_n), _r(*a))[1])
    run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), Events())
    assert calls[:3] == ["load", "__init__", "load_state"]


def test_gradients_that_never_become_finite_in_fp16_stop_the_training(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = session.Training._losses

    def broken(self: Any, batch: Any, step: int, place: int) -> Any:
        losses, sigma = real(self, batch, step, place)
        losses.register_hook(lambda gradient: gradient * float("nan"))
        return losses, sigma

    monkeypatch.setattr(session.Training, "_losses", broken)
    half = recipe(steps=60, precision="fp16", checkpoint_every=0)
    with pytest.raises(NotFinite, match="gradient: got NaN"):
        run_in_a_node(graph("sd15"), dataset, half, request(tmp_path), Events())


def test_a_schedule_that_knows_its_length_starts_a_new_run(dataset: Dataset, tmp_path: Path) -> None:
    cosine = recipe(steps=2, lr_schedule="cosine")
    first = run_in_a_node(graph("sd15"), dataset, cosine, request(tmp_path), Events())
    events = Events()
    second = run_in_a_node(graph("sd15"), dataset, cosine.changed(steps=3), request(tmp_path), events)
    assert events.steps == [1, 2, 3] and second.run != first.run
    assert first.run.checkpoint(2).path.exists()


def test_the_same_graph_queued_again_returns_without_loading_a_model(
    dataset: Dataset, straight: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrainable = graph("sd15")
    monkeypatch.setattr(untrainable, "trainable", lambda precision: pytest.fail("a finished run was trained again"))
    asked = replace(request(tmp_path), root=straight.run.folder.parent)
    again = run_in_a_node(untrainable, dataset, LONG_RECIPE, asked, Events())
    assert (again.run, again.step) == (straight.run, straight.step)
    sampled = LONG_RECIPE.changed(samples=SampleSettings(every=1, prompts=("x",)), cache_in="disk")
    assert run_in_a_node(untrainable, dataset, sampled, asked, Events()).run == straight.run


def test_reuse_only_never_trains(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reuse only"):
        run_in_a_node(graph("sd15"), dataset, recipe(), request(tmp_path, mode="reuse only"), Events())
    assert not (tmp_path / "runs").exists()
    run_in_a_node(
        graph("sd15"), dataset, recipe(), request(tmp_path, mode="steps per queue", steps_per_queue=2), Events()
    )
    events = Events()
    outcome = run_in_a_node(graph("sd15"), dataset, recipe(), request(tmp_path, mode="reuse only"), events)
    assert (outcome.step, events.steps) == (2, [])


def test_the_report_says_what_was_done(dataset: Dataset, tmp_path: Path) -> None:
    part = request(tmp_path, mode="steps per queue", steps_per_queue=2)
    first = run_in_a_node(graph("sd15"), dataset, recipe(), part, Events())
    assert "stopped at step 2 of 4" in first.report and "Steps: 2 trained in " in first.report
    assert f"LoRA file: {first.run.checkpoint(2).path.name} in {first.run.folder / 'checkpoints'}" in first.report
    last = run_in_a_node(graph("sd15"), dataset, recipe(), part, Events())
    losses = last.run.losses()
    lines = last.report.splitlines()
    assert lines[0] == f"Run {last.run.name}: complete." and ", 4 of 4 in all" in lines[1]
    assert lines[2:] == [
        "Reused: the 2 steps trained before",
        f"Last loss: {losses[-1]:.4g}, mean of the last 4 steps {sum(losses) / 4:.4g}",
        "Checkpoints: 2, at 2, 4",
        f"LoRA file: {last.run.checkpoint(4).path.name} in {tmp_path / 'loras'}",
        "Trigger word: none",
    ]
    again = run_in_a_node(graph("sd15"), dataset, recipe(), part, Events())
    assert "Steps: 0 trained now, 4 of 4 in all" in again.report and "Warning" not in again.report


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_damage_that_the_model_cannot_hear_is_told(family: str, dataset: Dataset, tmp_path: Path) -> None:
    """Oracle: the UNet of SDXL takes in sizes and the pooled vector, that of Stable Diffusion 1.5 neither."""
    damaged = replace(
        dataset, steps=(*dataset.steps, *map(corruption, ("size_lie", "pooled_swap", "conditioning_noise")))
    )
    report = run_in_a_node(graph(family), damaged, recipe(steps=1), request(tmp_path), Events()).report
    warned = [line.split()[1] for line in report.splitlines() if line.startswith("Warning: ")]
    assert warned == (["size_lie", "pooled_swap"] if family == "sd15" else [])


def test_keep_hands_the_last_checkpoint_to_the_rest_of_the_graph(dataset: Dataset, tmp_path: Path) -> None:
    outcome = run_in_a_node(
        graph("sd15"), dataset, recipe(steps=6), request(tmp_path, keep_on_cancel=True), Events(stop_at=3)
    )
    assert outcome.step == 3 and "queue again" in outcome.report
    assert outcome.lora().keys() == last_tensors(outcome).keys()


class Fault(Exception):
    pass


@pytest.mark.parametrize("ending", ["success", "failure", "interrupt"])
@pytest.mark.parametrize("family", MODELS)
def test_what_goes_in_comes_out_unchanged(
    family: str,
    ending: str,
    dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unchanged_random_state: None,
) -> None:
    wires = graph(family)
    parts = {"model": wires._model, "clip": wires._clip.patcher, "vae": wires._vae.patcher}
    before = {name: hash_tensors(unpatched_weights(part)) for name, part in parts.items()}
    options = str(wires._model.model_options)
    expected: Any = {"success": None, "failure": Fault, "interrupt": Interrupted}[ending]
    if ending == "failure":
        monkeypatch.setattr(session.RunWriter, "append_metrics", _raise_fault)
    sampled = recipe(steps=2, samples=_one_preview())
    events = Events(stop_at=1 if ending == "interrupt" else None)
    if expected:
        with pytest.raises(expected):
            run_in_a_node(wires, dataset, sampled, request(tmp_path), events)
    else:
        run_in_a_node(wires, dataset, sampled, request(tmp_path), events)
    assert {name: hash_tensors(unpatched_weights(part)) for name, part in parts.items()} == before
    assert str(wires._model.model_options) == options
    assert not any("lora" in name for name, _ in wires._model.model.named_modules())
    assert comfy.model_management.in_training is False
    loaded = [entry.model for entry in comfy.model_management.current_loaded_models]
    assert not [patcher for patcher in loaded if any("lora" in n for n, _ in patcher.model.named_modules())]


def _raise_fault(*_: Any) -> None:
    raise Fault


def _one_preview() -> SampleSettings:
    return SampleSettings(every=1, prompts=("a cat",), width=64, height=64, steps=2, cfg=2.0)


def test_a_forced_unload_between_two_steps_changes_nothing(dataset: Dataset, straight: Outcome, tmp_path: Path) -> None:
    class Unloading(Events):
        def step(self, step: int, total: int, line: str) -> None:
            super().step(step, total, line)
            comfy.model_management.unload_all_models()

    outcome = run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), Unloading())
    assert same(last_tensors(outcome), last_tensors(straight))


def test_previews_change_nothing_and_show_the_network_as_it_is(
    dataset: Dataset, straight: Outcome, tmp_path: Path
) -> None:
    events = Events()
    sampled = LONG_RECIPE.changed(samples=replace(_one_preview(), every=4, prompts=("a cat", "a cup"), seeds=(0, 1)))
    outcome = run_in_a_node(graph("sd15"), dataset, sampled, request(tmp_path), events)
    assert same(last_tensors(outcome), last_tensors(straight))
    assert [step for step, _ in events.previews] == [4] * 4 + [8] * 4
    pictures = [image.tobytes() for _, image in events.previews]
    assert len(set(pictures)) == 8, "prompts, seeds and steps must all show"
    assert len(outcome.run.sample_images()) == 8 and len(outcome.newest_samples()) == 4


def test_gradient_checkpointing_does_not_change_the_result(dataset: Dataset, straight: Outcome, tmp_path: Path) -> None:
    plain = LONG_RECIPE.changed(gradient_checkpointing=False)
    outcome = run_in_a_node(graph("sd15"), dataset, plain, request(tmp_path), Events())
    ours, other = last_tensors(outcome), last_tensors(straight)
    assert max(float((ours[key] - other[key]).abs().max()) for key in ours) <= 1e-6


def test_accumulating_equals_one_larger_batch(dataset: Dataset, tmp_path: Path) -> None:
    """Four items, so every epoch is one batch of four or four of one; the order within the update may differ."""
    one_item = replace(dataset, items=dataset.items[:1])  # the same item everywhere: only noise and sigma differ
    quadrupled = replace(one_item, items=(replace(one_item.items[0], repeats=4),))
    whole = recipe(steps=3, batch_size=4, caption_dropout=0.5)
    parts = whole.changed(batch_size=1, grad_accumulation_steps=4)
    a = run_in_a_node(graph("sd15"), quadrupled, whole, request(tmp_path / "a"), Events())
    b = run_in_a_node(graph("sd15"), quadrupled, parts, request(tmp_path / "b"), Events())
    assert torch.allclose(torch.tensor(a.run.losses()), torch.tensor(b.run.losses()), rtol=1e-4)
    norms = [[line["grad_norm"] for line in outcome.run.metrics()] for outcome in (a, b)]
    assert torch.allclose(torch.tensor(norms[0]), torch.tensor(norms[1]), rtol=1e-3)


def test_epochs_pass_over_every_entry(dataset: Dataset, tmp_path: Path) -> None:
    repeated = replace(dataset, items=(replace(dataset.items[0], repeats=3), *dataset.items[1:]))
    settings = recipe(epochs=2, batch_size=2, checkpoint_every=0)
    assert session.total_steps(repeated, settings) == 6  # six entries, three batches a pass
    outcome = run_in_a_node(graph("sd15"), repeated, settings, request(tmp_path), Events())
    assert outcome.step == 6 and [c.step for c in outcome.run.checkpoints()] == [6]


def test_disk_cache_gives_the_same_training_and_is_used_again(
    dataset: Dataset, straight: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = LONG_RECIPE.changed(cache_in="disk")
    first = run_in_a_node(graph("sd15"), dataset, on_disk, request(tmp_path), Events())
    assert same(last_tensors(first), last_tensors(straight))
    monkeypatch.setattr("glitch_lora.host.graph.encode_image", lambda *_: pytest.fail("encoded again"))
    run_in_a_node(graph("sd15"), dataset, on_disk.changed(rank=2, steps=1), request(tmp_path), Events())


def test_a_loss_that_is_not_finite_names_step_item_and_sigma(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = session.Training._losses, []

    def broken(self: Any, batch: Any, step: int, place: int) -> Any:
        losses, sigma = real(self, batch, step, place)
        calls.append(step)
        return (losses * float("nan") if step == 3 else losses), sigma

    monkeypatch.setattr(session.Training, "_losses", broken)
    with pytest.raises(NotFinite, match=r"step 4, item \w+\.png, sigma [\d.]+"):
        run_in_a_node(graph("sd15"), dataset, recipe(steps=6), request(tmp_path), Events())
    run = Run(next((tmp_path / "runs").iterdir()))
    assert [checkpoint.step for checkpoint in run.checkpoints()] == [2, 3]
    tensors = load_safetensors(run.checkpoint(3).path)[0]
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_a_step_that_does_not_fit_says_what_to_lower(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(session.Training, "backward", full)
    with pytest.raises(RuntimeError, match=r"batch_size \(now 2"):
        run_in_a_node(graph("sd15"), dataset, recipe(batch_size=2), request(tmp_path), Events())


def test_a_disk_too_small_is_told_before_the_first_step(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("glitch_lora.training.plan.shutil.disk_usage", lambda _: usage)
    events = Events()
    with pytest.raises(OSError, match=r"needed .* GiB for 2 checkpoints"):
        run_in_a_node(graph("sd15"), dataset, recipe(), request(tmp_path), events)
    assert events.steps == []


def test_a_damaged_last_checkpoint_is_written_again(dataset: Dataset, straight: Outcome, tmp_path: Path) -> None:
    shutil.copytree(straight.run.folder.parent, tmp_path / "runs")
    path = Run(tmp_path / "runs" / straight.run.name).checkpoint(8).path
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    events = Events()
    outcome = run_in_a_node(graph("sd15"), dataset, LONG_RECIPE, request(tmp_path), events)
    assert outcome.step == 8 and events.steps == []
    assert path.read_bytes() == whole


def test_the_plan_is_told_before_the_first_step(dataset: Dataset, tmp_path: Path) -> None:
    events = Events()
    run_in_a_node(graph("sd15"), dataset, recipe(), request(tmp_path), events)
    plan = next(line for line in events.lines if line.startswith("Plan: "))
    assert "4 steps" in plan and "GiB of memory" in plan and "2 checkpoints" in plan
    assert events.lines.index(plan) < events.lines.index(next(line for line in events.lines if "Step 1/4" in line))


def test_an_edited_picture_or_another_lora_on_the_model_is_another_run(dataset: Dataset, tmp_path: Path) -> None:
    from glitch_lora.training.key import run_key

    identities = graph("sd15").identities()

    def key_of(settings: Recipe) -> str:
        return run_key(identities, dataset, settings, session.total_steps(dataset, settings))

    key = key_of(recipe())
    assert key_of(recipe(steps=400)) == key
    assert key_of(recipe(epochs=3)) == key == key_of(recipe(epochs=5, steps=9)), "a length is a length"
    cosine = recipe(lr_schedule="cosine")
    assert key_of(cosine.changed(epochs=2, steps=1)) == key_of(cosine.changed(epochs=2, steps=7))
    assert key_of(cosine.changed(epochs=2)) != key_of(cosine.changed(epochs=3))
    assert key_of(recipe(rank=8)) != key
    edited = replace(dataset, items=(replace(dataset.items[0], key="other"), *dataset.items[1:]))
    assert run_key(identities, edited, recipe(), 4) != key
    captioned = replace(dataset, items=(replace(dataset.items[0], caption="other"), *dataset.items[1:]))
    assert run_key(identities, captioned, recipe(), 4) != key
    skipped = graph("sd15")
    skipped._clip.clip_layer(-2)
    assert run_key(skipped.identities(), dataset, recipe(), 4) != key


def test_recipe_json_survives() -> None:
    settings = recipe(samples=_one_preview())
    assert Recipe.from_json(settings.to_json()) == settings
    with pytest.raises(ValueError, match=r"steps: got 0.*\n.*rank: got -1"):
        Recipe(steps=0, rank=-1)
    with pytest.raises(ValueError, match="unknown settings"):
        Recipe.from_json({"learning_rat": 1})


def test_a_finished_run_is_handed_over_with_the_samples_asked_for_now(tmp_path):
    """Samples decide no weights: a recipe that differs in them finds the run, and a sweep takes the new ones."""
    dataset, parts = photographs(tmp_path / "data", count=1), graph("sd15")
    first = train(parts, dataset, recipe(steps=1), request(tmp_path), Events())
    asked = SampleSettings(cfg=22.0, steps=4)
    again = train(parts, dataset, recipe(steps=1, samples=asked), request(tmp_path), Events())
    assert again.run == first.run and "Reused" in again.report
    assert sample_settings(again.run) == asked != sample_settings(first.run)
    assert sample_settings(Run(first.run.folder)) == SampleSettings(), "what was written stays"


def test_the_config_tells_the_chains_of_merged_items(tmp_path):
    dataset, parts = photographs(tmp_path / "data", count=2), graph("sd15")
    both = with_copies(dataset, corruption("jpeg_recompression"), keep_clean=True)
    config = train(parts, both, recipe(steps=1), request(tmp_path), Events()).run.config()
    names = [[step["name"] for step in config["chains"][number]] for number in config["chain_of_item"]]
    assert names == [["frame"]] * 2 + [["frame", "jpeg_recompression"]] * 2
    plain = train(parts, dataset, recipe(steps=1), request(tmp_path), Events()).run.config()
    assert "chains" not in plain
