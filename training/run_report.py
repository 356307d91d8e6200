"""What a run folder holds, in sentences."""

from collections.abc import Sequence

from .run import Run

_SHOWN = 40


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


def _steps(steps: Sequence[int]) -> str:
    if len(steps) <= _SHOWN:
        return ", ".join(map(str, steps)) or "none"
    return f"{', '.join(map(str, steps[: _SHOWN - 1]))} ... {steps[-1]} ({len(steps)} in all)"
