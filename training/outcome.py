"""What a queueing of a training asks for, and what it hands over: a run at a step, and files where the host looks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from .lora_file import load_safetensors
from .publish import save_lora
from .publish_words import SavedEmbedding, save_embeddings
from .recipe import Mode, Recipe
from .run import Run
from .words import split_bundle


@dataclass(frozen=True)
class Request:
    """Where a run lives and how far this queueing may take it.

    name: of the run. root: folder of all runs. loras_folder: where the final checkpoint is published.
    embeddings_folder: where the final words are, None for nowhere; is_taken: says of a file there whether a prompt that
    names it could mean another one. cache_folder: of the disk cache. mode: train to the end, never train, or train
    `steps_per_queue` at most.
    keep_on_cancel: a Cancel saves and hands over the last checkpoint instead of stopping the graph.
    extra: JSON values for config.json (workflow, versions); outside the key.
    """

    name: str
    root: Path
    loras_folder: Path
    cache_folder: Path
    mode: Mode = "train"
    steps_per_queue: int = 0
    keep_on_cancel: bool = False
    extra: dict[str, Any] | None = None
    embeddings_folder: Path | None = None
    is_taken: Callable[[Path], bool] = lambda path: False


@dataclass(frozen=True)
class Outcome:
    """run: the folder. step: of the checkpoint handed over. total_steps: where the recipe ends. report: for people.

    before: steps that were trained before this queueing, None when it trained none. published: the LoRA file where the
    host finds it, if there is one. words: the embedding files, likewise. notes: what people should know of the
    training.
    """

    run: Run
    step: int
    total_steps: int
    report: str
    before: int | None = None
    published: Path | None = None
    words: tuple[SavedEmbedding, ...] = ()
    notes: tuple[str, ...] = ()

    def lora(self) -> dict[str, Tensor]:
        """Return the LoRA of the checkpoint handed over; nothing where words alone were trained."""
        return split_bundle(load_safetensors(self.run.checkpoint(self.step).path)[0])[0]

    def newest_samples(self) -> list[Image.Image]:
        """Return the previews of the last step that has some, up to the checkpoint handed over."""
        drawn = [sample for sample in self.run.sample_images() if sample.step <= self.step]
        last = max((sample.step for sample in drawn), default=0)
        return [Image.open(sample.path).convert("RGB") for sample in drawn if sample.step == last]


def finished(run: Run, total: int) -> Outcome | None:
    """Return the outcome of a run that already has what was asked for."""
    steps = [checkpoint.step for checkpoint in run.checkpoints()]
    if total in steps:
        return Outcome(run, total, total, f"Reused run {run.name}: step {total} is already trained.")
    beyond = [step for step in steps if step > total]
    if not beyond:
        return None
    # Nothing is left to train, and a longer run is never cut: the nearest checkpoint is handed over, by its own number.
    step = max((step for step in steps if step < total), default=min(beyond))
    report = (
        f"Reused run {run.name}: it is trained to step {max(beyond)} and has no checkpoint at {total}; "
        f"step {step} is handed over. For step {total} itself set checkpoint_every to a divisor of it; "
        "that trains a run of its own."
    )
    return Outcome(run, step, total, report)


def reused(run: Run | None, total: int) -> Outcome:
    """Return the outcome of a queueing that must not train. Raises ValueError where there is nothing to reuse."""
    last = run.last_checkpoint() if run else None
    if run is None or last is None:
        raise ValueError(
            "mode: got 'reuse only' and no run of exactly this dataset, recipe and models, "
            "allowed is a run that was trained before, set mode to 'train' to train it now"
        )
    return Outcome(run, last.step, total, f"Reused run {run.name} at step {last.step} of {total}, as mode asks.")


def handed_over(run: Run, total: int) -> Outcome:
    """Return the outcome of a queueing that trained. Raises ValueError for one that ended before a checkpoint."""
    last = run.last_checkpoint()
    if last is None:
        raise ValueError(
            f"run: {run.name} has no readable checkpoint ({'; '.join(run.problems()) or 'cancelled before one'}), "
            "queue again to go on"
        )
    state = "complete" if last.step >= total else f"stopped at step {last.step} of {total}; queue again to go on"
    return Outcome(run, last.step, total, f"Run {run.name}: {state}.")


def published(done: Outcome, request: Request) -> Outcome:
    """Return the outcome of a finished training with its LoRA and words where the host finds them."""
    words: tuple[SavedEmbedding, ...] = ()
    if request.embeddings_folder is not None and done.run.words(done.step):
        words = save_embeddings(done.run, done.step, request.embeddings_folder, is_taken=request.is_taken)
    lora = save_lora(done.run, done.step, request.loras_folder).path if done.lora() else None
    return replace(done, published=lora, words=words)


def prompts(recipe: Recipe, words: tuple[SavedEmbedding, ...]) -> list[str]:
    """Return what to write in a prompt for each word: after Apply Checkpoint and in sweeps, and with the file alone."""
    files = {word.token: word.prompt_text for word in words}
    return [
        f"Prompt: {word.token} behind Apply Checkpoint and in Sweep"
        + (f", {files[word.token]} in any other graph" if word.token in files else "")
        for word in recipe.embeddings
    ]
