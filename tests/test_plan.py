"""What a training will take: counts against a run of the loop's own rule, memory against a known allocation."""

import time
from pathlib import Path

import psutil
import pytest
import torch
from glitch_lora.training.plan import Measured, duration, explained_memory_errors, make_plan, measured
from glitch_lora.training.recipe import Recipe
from hypothesis import given
from hypothesis import strategies as st

CPU = torch.device("cpu")


@given(every=st.integers(0, 30), done=st.integers(0, 60), more=st.integers(1, 60))
def test_checkpoints_are_counted_as_the_loop_writes_them(every: int, done: int, more: int) -> None:
    until = done + more
    written = {step for step in range(done + 1, until + 1) if every and step % every == 0} | {until}
    plan = make_plan(Recipe(checkpoint_every=every), 1000, done, until, Measured(), CPU)
    assert plan.checkpoints == len(written)
    assert plan.steps == more


def test_bytes_and_seconds_follow_from_the_recipe() -> None:
    recipe = Recipe(checkpoint_every=10, save_dtype="fp16", grad_accumulation_steps=3)
    plan = make_plan(recipe, 1_000_000, 0, 100, Measured(seconds=2.0, peak_bytes=2**30), CPU)
    assert plan.checkpoint_bytes == 2_000_000
    assert plan.disk_bytes == 10 * 2_000_000 + 2_000_000 + 2 * 12_000_000  # files, the published copy, two states
    assert plan.seconds == 600.0
    assert "100 steps, about 10 min 0 s; 1.0 GiB" in plan.text()


def test_peak_memory_of_the_process_is_seen() -> None:
    before = psutil.Process().memory_info().rss
    with measured(CPU) as result:
        held = torch.ones(64 * 2**20)  # 256 MiB, gone again before the end
        time.sleep(0.2)  # longer than the watch sleeps, also on a busy machine
        del held
    assert result.peak_bytes - before > 150 * 2**20
    assert result.seconds > 0


def test_other_errors_pass_through_unchanged() -> None:
    with pytest.raises(RuntimeError, match="^shape mismatch$"), explained_memory_errors(Recipe()):
        raise RuntimeError("shape mismatch")
    with (
        pytest.raises(RuntimeError, match="gradient_checkpointing"),
        explained_memory_errors(Recipe(gradient_checkpointing=False)),
    ):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (75, "1 min 15 s"), (3725, "1 h 2 min")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_full_disk_names_both_sizes(tmp_path: Path) -> None:
    plan = make_plan(Recipe(), 10**15, 0, 1000, Measured(), CPU)
    with pytest.raises(OSError, match=r"got [\d.]+ GiB free .* needed [\d.]+ GiB for 10 checkpoints"):
        plan.require_disk(tmp_path)
