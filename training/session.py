"""One queueing of a training: find what is already there, train what is missing, hand over the run."""

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..dataset.dataset import Dataset
from ..dataset.sample import Step
from .adapters import LoraAdapters
from .batches import BatchOrder
from .conditioning import PromptEncoder
from .embedding_start import start_of
from .encode import EncodedDataset, encode_dataset
from .key import NUMERICS_VERSION, run_key
from .loop import NotFinite, StepRecord, Training
from .lora_file import DTYPES, FAMILY_WORDS, lora_metadata, lora_state_dict
from .model import Encoders, Events, Previewer, TrainableModel, TrainableText
from .outcome import Outcome, Request, finished, handed_over, prompts, published, reused
from .plan import Plan, duration, explained_memory_errors, make_plan, measured
from .randomness import deterministic_kernels, preserved_generators
from .recipe import Recipe, SampleSettings
from .run import RunWriter, find_run
from .run_report import training_report
from .store import DiskStore, RamStore, Store
from .text_report import describe_text
from .text_side import TextSide
from .unheard import unheard_encoded, unheard_sizes
from .word_captions import WordCaptions
from .word_notes import word_notes
from .words import bundled

__all__ = ["Graph", "Outcome", "Request", "total_steps", "train"]

# metadata standards' words for our own
_PREDICTION_WORDS = {"epsilon": "epsilon", "v_prediction": "v", "flow": "flow"}


class Graph(Protocol):
    """The MODEL, CLIP and VAE of the graph, and the host around them."""

    interrupted: type[BaseException]

    @property
    def family(self) -> str: ...
    @property
    def clip_skip(self) -> int | None: ...
    @property
    def base_model(self) -> str: ...
    def identities(self) -> dict[str, Any]: ...
    def encoders(self, prompt_syntax: bool) -> Encoders: ...
    def trainable(self, precision: str) -> AbstractContextManager[TrainableModel]: ...
    def trainable_text(self, model: Any) -> AbstractContextManager[TrainableText]: ...
    def embedding_file(self, name: str) -> Path: ...
    def previewer(self, model: Any, settings: SampleSettings, text: PromptEncoder | None) -> Previewer: ...


def train(graph: Graph, dataset: Dataset, recipe: Recipe, request: Request, events: Events) -> Outcome:
    """Return the run of `recipe` on `dataset`, trained as far as the request asks.

    A run that is already there is found by its content key and returned at once; an unfinished one goes on where it
    stopped. Raises ValueError for input that cannot be trained on, the host's interrupt on Cancel (after saving), and
    `NotFinite`. MODEL, CLIP, VAE and the global random generators are as they were, whatever happens.
    """
    started = time.monotonic()
    outcome = _found_or_trained(graph, dataset, recipe, request, events)
    report = training_report(
        outcome.run,
        outcome.step,
        outcome.total_steps,
        outcome.step if outcome.before is None else outcome.before,
        time.monotonic() - started,
        outcome.published or (outcome.run.checkpoint(outcome.step).path if recipe.trains_lora else None),
        (
            *unheard_sizes(dataset, graph.family),
            *describe_text(recipe, outcome.total_steps),
            *outcome.notes,
            *(f"Embedding file: {word.path.name} in {word.path.parent}" for word in outcome.words),
            *prompts(recipe, outcome.words),
        ),
    )
    run = replace(outcome.run, samples=recipe.samples)
    return replace(outcome, run=run, report=f"{outcome.report}\n{report}")


def _found_or_trained(graph: Graph, dataset: Dataset, recipe: Recipe, request: Request, events: Events) -> Outcome:
    dataset.require_items()
    total = total_steps(dataset, recipe)
    identities = graph.identities()
    key = run_key(identities, dataset, recipe, total)
    found = find_run(request.root, key)
    done = finished(found, total) if found else None
    if done:
        return published(done, request) if done.step == total else done  # also when a kill came before publishing
    if request.mode == "reuse only":
        return reused(found, total)
    WordCaptions(recipe.embeddings, _captions(dataset), recipe.seed)  # refuses before there is a folder
    config = _config(graph, dataset, recipe, identities, total) | (request.extra or {})
    writer = RunWriter.create(request.root, key, request.name, config)
    # ComfyUI runs nodes in inference mode; a tensor made there can never take part in a backward pass.
    with torch.inference_mode(False), preserved_generators(), deterministic_kernels(recipe.deterministic):
        session = _Session(graph, dataset, recipe, request, events, writer, identities, total)
        session.run()
    done = handed_over(writer.run, total)
    done = replace(done, before=session.before, notes=session.notes)
    return published(done, request) if done.step == total else done


def total_steps(dataset: Dataset, recipe: Recipe) -> int:
    """Return the number of optimizer updates `recipe` asks for on `dataset`."""
    if not recipe.epochs:
        return recipe.steps
    sizes = tuple(dataset.framed_size(index) for index in range(len(dataset)))
    order = BatchOrder(dataset.entries, sizes, (1,) * len(sizes), recipe.batch_size, recipe.seed)
    return max(1, -(-order.per_epoch * recipe.epochs // recipe.grad_accumulation_steps))


class _Session:
    def __init__(
        self,
        graph: Graph,
        dataset: Dataset,
        recipe: Recipe,
        request: Request,
        events: Events,
        writer: RunWriter,
        identities: dict[str, Any],
        total: int,
    ) -> None:
        self._graph = graph
        self._dataset = dataset
        self._recipe = recipe
        self._request = request
        self._events = events
        self._writer = writer
        self._identities = identities
        self._total = total
        self._seconds = list[float]()
        self.before = 0
        self.notes: tuple[str, ...] = ()
        self._text: TextSide | None = None

    def run(self) -> None:
        """Train from the last saved state to where this queueing may go."""
        recipe = self._recipe
        encoders = self._graph.encoders(recipe.prompt_syntax)
        with torch.no_grad():
            data = encode_dataset(self._dataset, encoders, recipe, self._identities, self._store(), self._events)
        self.notes = tuple(unheard_encoded(data.changed, self._graph.family))
        with contextlib.ExitStack() as stack:
            model = stack.enter_context(self._graph.trainable(recipe.precision))
            self._text = (
                self._text_side(stack.enter_context(self._graph.trainable_text(model))) if recipe.trains_text else None
            )
            with torch.no_grad():
                previewer = self._graph.previewer(model, recipe.samples, self._text)
            encoders.free()
            self._names = model.lora_names()
            self._adapters = self._inject(model) if recipe.train_network else None
            with explained_memory_errors(recipe):
                model.load()  # optimizers and resumed state must be made where the parameters train
                if self._text:
                    self._text.load()
            self._prediction = model.prediction
            self._previewer = previewer
            self._resolution = _resolution(data)
            with torch.enable_grad():
                self._train(model, Training(model, self._adapters, data, recipe, self._total, self._text))

    def _inject(self, model: TrainableModel) -> LoraAdapters:
        recipe = self._recipe
        adapters = LoraAdapters(
            model.network,
            model.layers(recipe.target_modules),
            rank=recipe.rank,
            alpha=recipe.alpha,
            dropout=recipe.lora_dropout,
            seed=recipe.seed,
        )
        model.adapters_changed()
        return adapters

    def _text_side(self, text: TrainableText) -> TextSide:
        captions = _captions(self._dataset)
        notes = word_notes(text, self._recipe.embeddings, captions)
        for note in notes:
            self._events.status(note)
        self.notes += tuple(notes)
        going_on = [word for word in self._recipe.embeddings if word.init == "file"]
        widths = {encoder: text.table(encoder).shape[1] for encoder in text.encoders} if going_on else {}
        starts = {word.token: start_of(word, self._graph.embedding_file(word.init_file), widths) for word in going_on}
        return TextSide(text, self._recipe, captions, starts)

    def _train(self, model: TrainableModel, training: Training) -> None:
        done = self.before = self._resume(training)
        until = self._until(done)
        self._tell_plan(self._probe(model, training, done, until))
        self._until_step = until
        with self._saved_on_the_way_out(training):
            training.run(until, lambda record: self._after_step(training, record))
            self._save(training)

    def _resume(self, training: Training) -> int:
        state = self._writer.load_state()
        for problem in self._writer.problems:
            self._events.status(problem)
        if state is not None:
            training.load_state(*state)
            self._events.status(f"Going on from step {training.step}")
        elif self._writer.problems:
            self._events.status("No training state can be read: starting again from step 1")
        self._writer.truncate_metrics(training.step)
        return training.step

    def _until(self, done: int) -> int:
        if self._request.mode == "steps per queue":
            return min(self._total, done + max(1, self._request.steps_per_queue))
        return self._total

    def _probe(self, model: TrainableModel, training: Training, done: int, until: int) -> Plan:
        self._events.status("Measuring one step on the largest pictures")
        with measured(model.device) as probe, explained_memory_errors(self._recipe):
            training.probe()
        return make_plan(self._recipe, training.trained_values, done, until, probe, model.device)

    def _tell_plan(self, plan: Plan) -> None:
        plan.require_disk(self._writer.run.folder)
        self._events.status(plan.text())

    def _after_step(self, training: Training, record: StepRecord) -> None:
        self._writer.append_metrics(record.to_json())
        self._seconds = [*self._seconds[-19:], record.seconds]
        self._events.step(record.step, self._total, self._line(record))
        if self._recipe.checkpoint_every and record.step % self._recipe.checkpoint_every == 0:
            self._save(training)
        if self._recipe.samples.every and record.step % self._recipe.samples.every == 0:
            self._preview(record.step)
        self._events.check()

    def _line(self, record: StepRecord) -> str:
        each = max(1e-9, sum(self._seconds) / len(self._seconds))
        left = duration(each * (self._until_step - record.step))
        pace = f"{1 / each:.2f} steps/s" if each < 1 else f"{each:.1f} s/step"
        return f"Step {record.step}/{self._total} · loss {record.loss:.4f} · {pace} · {left} left"

    def _preview(self, step: int) -> None:
        for trained in (self._adapters, self._text):
            if trained:
                trained.train(False)
        with torch.no_grad():
            images = self._previewer.render(self._recipe.samples)
        settings = self._recipe.samples
        drawn = [(prompt, seed) for prompt in settings.prompts for seed in settings.seeds]
        for index, (image, (prompt, seed)) in enumerate(zip(images, drawn, strict=True)):
            metadata = {"step": str(step), "prompt": prompt, "negative": settings.negative, "seed": str(seed)}
            self._writer.save_sample(step, index, image, metadata)
            self._events.preview(step, image)

    @contextlib.contextmanager
    def _saved_on_the_way_out(self, training: Training) -> Iterator[None]:
        """Save a resumable state when a Cancel or an error ends the loop between two updates."""
        try:
            yield
        except NotFinite:
            # The weights before the bad update are the last finite ones; a state would only run into it again.
            self._save_checkpoint(training.step)
            raise
        except BaseException as error:
            if training.settled:
                self._save(training)
            if not (self._request.keep_on_cancel and isinstance(error, self._graph.interrupted)):
                raise

    def _save(self, training: Training) -> None:
        """Write the checkpoint and the state of this step, unless this step was already saved or is the start."""
        if training.step == 0:
            return
        self._save_checkpoint(training.step)
        self._writer.save_state(training.step, *training.state())

    def _save_checkpoint(self, step: int) -> None:
        if step == 0 or step in [checkpoint.step for checkpoint in self._writer.run.checkpoints()]:
            return
        style = FAMILY_WORDS[self._graph.family].style
        dtype = DTYPES[self._recipe.save_dtype]
        adapters = self._adapters.exported() if self._adapters else {}
        names = self._names
        words: dict[str, Tensor] = {}
        if self._text:
            adapters, names = adapters | self._text.exported(), names | self._text.lora_names
            words = bundled(self._text.embeddings.exported())
        tensors = lora_state_dict(adapters, names, style, dtype) | words
        metadata = lora_metadata(
            name=self._writer.run.name,
            step=step,
            family=self._graph.family,
            recipe=self._recipe,
            trigger=self._dataset.trigger,
            dataset_fingerprint=self._dataset.fingerprint,
            base_model=self._graph.base_model,
            resolution=self._resolution,
            prediction_type=_PREDICTION_WORDS[self._prediction],
            clip_skip=self._graph.clip_skip,
            captions=_captions(self._dataset),
            encoders=self._text.encoders if self._text else (),
        )
        self._writer.save_checkpoint(step, tensors, metadata)

    def _store(self) -> Store:
        return DiskStore(self._request.cache_folder) if self._recipe.cache_in == "disk" else RamStore()


def _captions(dataset: Dataset) -> list[str]:
    return [dataset.caption(index) for index in range(len(dataset))]


def _resolution(data: EncodedDataset) -> tuple[int, int]:
    return data.size(data.largest(), 0).target


def _config(graph: Graph, dataset: Dataset, recipe: Recipe, identities: dict[str, Any], total: int) -> dict[str, Any]:
    return {
        "numerics_version": NUMERICS_VERSION,
        "family": graph.family,
        "base_model": graph.base_model,
        "models": identities,
        "clip_skip": graph.clip_skip,
        "trigger": dataset.trigger,
        "dataset_fingerprint": dataset.fingerprint,
        "dataset": [
            {"name": item.name, "key": item.key, "caption": dataset.caption(index), "repeats": item.repeats}
            for index, item in enumerate(dataset.items)
        ],
        "steps_applied": [step.describe() for step in dataset.steps],
        **_item_chains(dataset),
        "recipe": recipe.to_json(),
        "total_steps": total,
    }


def _item_chains(dataset: Dataset) -> dict[str, Any]:
    """Return the chains that items of merged datasets went through before `steps_applied`, and which item which."""
    different: dict[tuple[Step, ...], int] = {}
    numbers = [different.setdefault(item.steps, len(different)) for item in dataset.items]
    if list(different) == [()]:
        return {}
    return {"chains": [[step.describe() for step in chain] for chain in different], "chain_of_item": numbers}
