"""What a run folder holds, in sentences."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from .plan import duration
from .run import Run

_SHOWN = 40
_AVERAGED = 50


def step_label(step: int, strength: float = 1.0) -> str:
    """Return what stands over a picture: "step 300", "step 300 x 0.5", or "base (no LoRA)" for step 0."""
    if step == 0:
        return "base (no LoRA)"
    return f"step {step}" if strength == 1.0 else f"step {step} x {strength:g}"


def describe_run(run: Run, chosen: Sequence[int] = ()) -> str:
    """Return the run's name, base, trigger word, checkpoints, progress and everything that cannot be read.

    chosen: steps picked from it, told when they are fewer than all.
    """
    config, steps = run.config(), [checkpoint.step for checkpoint in run.checkpoints()]
    lines = [f"Run {run.name}"]
    if config.get("base_model"):
        lines.append(f"Base model: {config['base_model']}")
    lines.append(f"Trigger word: {run.trigger or 'none'}")
    if run.tokens:
        lines.append(f"Words learnt: {', '.join(run.tokens)}")
    if run.clip_skip is not None:
        lines.append(f"CLIP layer: {run.clip_skip}")
    lines.append(f"Checkpoints: {_steps(steps)}")
    if chosen and list(chosen) != steps:
        lines.append(f"Chosen: {_steps(chosen)}")
    losses = run.losses()
    if losses:
        lines.append(f"Recorded steps: {len(losses)}, last loss {losses[-1]:.4g}")
    lines += [f"Problem: {problem}" for problem in run.problems()]
    lines.append(f"Folder: {run.folder}")
    return "\n".join(lines)


def training_report(
    run: Run, step: int, total: int, before: int, seconds: float, lora_file: Path | None, notes: Iterable[str] = ()
) -> str:
    """Return what a queueing did with a run, in short lines: steps, time, loss, files, trigger word, notes.

    step: handed over, of `total`. before: steps that were there already. seconds: that the queueing took. lora_file: of
    the step handed over, best where Load LoRA finds it; None when there is none. notes: lines to put at the end.
    """
    now = max(0, step - before)
    took = f"in {duration(seconds)}" if now else "now"
    lines = [f"Steps: {now} trained {took}, {step} of {total} in all"]
    if before and now:
        lines.append(f"Reused: the {before} steps trained before")
    losses = [line["loss"] for line in run.metrics() if line.get("step", 0) <= step and _is_number(line.get("loss"))]
    if losses:
        last = losses[-_AVERAGED:]
        lines.append(f"Last loss: {losses[-1]:.4g}, mean of the last {len(last)} steps {fmean(last):.4g}")
    checkpoints = [checkpoint.step for checkpoint in run.checkpoints()]
    lines.append(f"Checkpoints: {len(checkpoints)}, at {_steps(checkpoints)}")
    if lora_file:
        lines.append(f"LoRA file: {lora_file.name} in {lora_file.parent}")
    lines.append(f"Trigger word: {run.trigger or 'none'}")
    return "\n".join([*lines, *notes])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _steps(steps: Sequence[int]) -> str:
    if len(steps) <= _SHOWN:
        return ", ".join(map(str, steps)) or "none"
    return f"{', '.join(map(str, steps[: _SHOWN - 1]))} ... {steps[-1]} ({len(steps)} in all)"
