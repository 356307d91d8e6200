"""From what a user typed to a plan: empty fields take the run's own sample settings."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ..training.recipe import SampleSettings
from ..training.run import Run
from .axes import MAX_SEED, parse_checkpoints, parse_integers, parse_names, parse_numbers, parse_prompts, parse_sizes
from .plan import AxisName, SweepPlan

NEGATIVE_CHOICES = ("with", "without", "with and without")


@dataclass(frozen=True)
class SweepTexts:
    """The texts of a sweep's lists, as typed; an empty one means the run's own sample settings.

    prompts: one a line; without any, the run's sample prompts, else its trigger word.
    negative: the negative prompt; negative_use: one of NEGATIVE_CHOICES. checkpoints: see `parse_checkpoints`.
    """

    prompts: str = ""
    negative: str = ""
    negative_use: str = "with"
    checkpoints: str = "all"
    strengths: str = "1.0"
    seeds: str = ""
    steps: str = ""
    cfg: str = ""
    sizes: str = ""
    samplers: str = ""
    schedulers: str = ""
    rows: AxisName = "prompt"
    columns: AxisName = "checkpoint"


def plan_from_texts(
    texts: SweepTexts, run: Run, samplers: Sequence[str], schedulers: Sequence[str], max_pictures: int
) -> SweepPlan:
    """Return the plan of a sweep of `run`. Nothing is rendered.

    samplers, schedulers: names this ComfyUI knows. Raises ValueError for a text that cannot be read, and for more
    than `max_pictures` pictures, which is how a slip of the finger shows.
    """
    own = sample_settings(run)
    plan = SweepPlan(
        checkpoint=parse_checkpoints(texts.checkpoints, [checkpoint.step for checkpoint in run.checkpoints()]),
        prompt=_prompts(texts.prompts, own, run),
        strength=parse_numbers("strengths", texts.strengths or "1", -100.0, 100.0),
        negative=_negatives(texts.negative.strip() or own.negative, texts.negative_use),
        seed=parse_integers("seeds", texts.seeds or ", ".join(map(str, own.seeds)), 0, MAX_SEED),
        steps=parse_integers("steps", texts.steps or str(own.steps), 1, 10_000),
        cfg=parse_numbers("cfg", texts.cfg or str(own.cfg), 0.0, 100.0),
        size=parse_sizes("sizes", texts.sizes or f"{own.width}x{own.height}"),
        sampler=parse_names("samplers", texts.samplers or own.sampler, samplers),
        scheduler=parse_names("schedulers", texts.schedulers or own.scheduler, schedulers),
        rows=texts.rows,
        columns=texts.columns,
    )
    if plan.count > max_pictures:
        raise ValueError(
            f"sweep: got {plan.describe()}, allowed {max_pictures}, shorten a list or raise max_pictures if you mean it"
        )
    return plan


def sample_settings(run: Run) -> SampleSettings:
    """Return the sample settings of the recipe that asked for the run, else of the run's own; else the defaults."""
    if run.samples is not None:
        return run.samples
    recipe = run.config().get("recipe")
    values = recipe.get("samples") if isinstance(recipe, dict) else None
    known = {field.name for field in fields(SampleSettings)}
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in (values or {}).items()
        if name in known
    }
    return SampleSettings(**given)


def _prompts(text: str, own: SampleSettings, run: Run) -> tuple[str, ...]:
    prompts = parse_prompts(text) or own.prompts or ((run.trigger,) if run.trigger else run.tokens)
    if not prompts:
        raise ValueError(
            f"prompts: got none, and run '{run.name}' has no sample prompts, trigger word or learnt word, "
            "allowed one prompt a line, write one"
        )
    return prompts


def _negatives(text: str, use: str) -> tuple[str, ...]:
    if use not in NEGATIVE_CHOICES:
        raise ValueError(f"negative_use: got {use!r}, allowed {', '.join(NEGATIVE_CHOICES)}, choose one of them")
    return {"with": (text,), "without": ("",), "with and without": (text, "")}[use]
