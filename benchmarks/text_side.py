"""What the text side costs in a whole training step: ``python3 benchmarks/text_side.py [options]``.

Makes the environment like the other scripts (or uses the ComfyUI of COMFYUI_PATH). Needs no model: a small diffusion
network of random weights with a text encoder of SD1.5's real size (`--model small`, 0.4 GB file), or all of SD1.5
(`--model full`, 2.1 GB, about 10 GB of memory per process; then add `--apart`).

Compared are trainings that differ in the text side alone: a LoRA on the network; with a word beside it (pivotal
tuning); with LoRA on the text encoder too; and the training with a word after its pivot, when the word is frozen and
captions are still encoded in each step. Same pictures, captions, sizes, rank, fp32, threads; each in a process of its
own, in turns (`turns.py`), so read the ratios. Beside the time stands a step's arithmetic as torch counts it: the
floor. The encoders' 77 tokens cost the same whatever the picture's size, so their share falls as pictures grow: forward
and back they are 26 GFLOP on SD1.5, whose network takes 1733 for 512x512 pixels, and 220 on SDXL, whose network takes
14306 for 1024x1024. That is 1.5 % of either.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for _folder in ("scripts", "tests", "benchmarks"):
    sys.path.append(str(ROOT / _folder))

from as_package import register_pack  # noqa: E402  (scripts/ is on the path only now)
from turns import ARM, MIB, Result, Turns, Work, compare, compare_apart, import_comfy, turn_arguments  # noqa: E402

LORA, PIVOTAL, ENCODER, AFTER = "LoRA", "with a word", "and its encoder", "after the pivot"
WARM_UP = 2  # the word of AFTER is trained in the first, and the second is counted by torch
WORD = "prtkl"
PICTURES = 4


@dataclass(frozen=True, kw_only=True)
class SideWork(Work):
    """What one process does. arm: LORA, PIVOTAL, ENCODER or AFTER. size: of the pictures in pixels."""

    checkpoint: str
    batch: int
    rank: int
    size: int


def run_arm(work: SideWork) -> None:
    """Set the arm up and take its turns; reports go to standard output, everything else that is printed does not."""
    sys.stdout = sys.stderr
    import_comfy(work)
    register_pack()
    import comfy.sd
    import torch
    from glitch_lora.host.graph import ComfyGraph
    from glitch_lora.training.encode import encode_dataset
    from glitch_lora.training.randomness import preserved_generators
    from glitch_lora.training.store import RamStore

    recipe = _recipe(work)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():  # as ComfyUI runs every node
        graph = ComfyGraph(*comfy.sd.load_checkpoint_guess_config(work.checkpoint)[:3])
        dataset = _dataset(work, Path(folder))
        with torch.inference_mode(False), preserved_generators():
            encoders = graph.encoders(recipe.prompt_syntax)
            with torch.no_grad():
                data = encode_dataset(dataset, encoders, recipe, {"vae": "", "clip": ""}, RamStore(), _Silent())
            encoders.free()
            with torch.enable_grad():
                _take_steps(work, graph, dataset, data, recipe)


def _recipe(work: SideWork) -> Any:
    from glitch_lora.training.recipe import Recipe
    from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings

    pivot = 0.5 / work.total if work.arm == AFTER else 1.0
    word = EmbeddingSettings(WORD, num_vectors=2, ti_frac=pivot)
    return Recipe(
        steps=work.total,
        batch_size=work.batch,
        rank=work.rank,
        alpha=float(work.rank),
        caption_dropout=0.0,
        precision="fp32",
        gradient_checkpointing=False,
        embeddings=() if work.arm == LORA else (word,),
        text_encoder=TextEncoderSettings(rank=work.rank) if work.arm == ENCODER else None,
    )


def _dataset(work: SideWork, folder: Path) -> Any:
    """Return pictures of noise whose captions differ, so that a batch encodes as many captions as it has pictures."""
    import numpy as np
    from glitch_lora.dataset.from_images import dataset_from_images

    random = np.random.default_rng(0)
    pictures = [random.random((work.size, work.size, 3), dtype=np.float32) for _ in range(PICTURES)]
    return dataset_from_images(pictures, [f"{WORD}, picture number {n} of a set" for n in range(PICTURES)], folder)


class _Silent:
    def check(self) -> None: ...
    def status(self, line: str) -> None: ...
    def step(self, step: int, total: int, line: str) -> None: ...
    def preview(self, step: int, image: Any) -> None: ...


def _take_steps(work: SideWork, graph: Any, dataset: Any, data: Any, recipe: Any) -> None:
    """Train as `GlitchTrain` does, without writing anything."""
    from contextlib import ExitStack

    from glitch_lora.training.adapters import LoraAdapters
    from glitch_lora.training.loop import Training
    from glitch_lora.training.text_side import TextSide
    from torch.utils.flop_counter import FlopCounterMode

    turns = Turns(work)
    with ExitStack() as stack:
        model = stack.enter_context(graph.trainable(recipe.precision))
        side = None
        if recipe.trains_text:
            captions = [dataset.caption(index) for index in range(len(dataset))]
            side = TextSide(stack.enter_context(graph.trainable_text(model)), recipe, captions, {})
        layers = model.layers(recipe.target_modules)
        adapters = LoraAdapters(
            model.network, layers, rank=work.rank, alpha=recipe.alpha, dropout=0.0, seed=recipe.seed
        )
        model.adapters_changed()
        model.load()
        if side:
            side.load()
        training = Training(model, adapters, data, recipe, work.total, side)
        turns.start(trained=training.trained_values)
        training.run(WARM_UP - 1, lambda _: turns.step_done())
        with FlopCounterMode(display=False) as counted:
            training.run(WARM_UP, lambda _: turns.step_done())
        training.run(work.total, lambda _: turns.step_done())
        turns.finish(flops=counted.get_total_flops())


# In the process that compares


def report(results: list[Result]) -> None:
    """Print the table, each line against a LoRA alone."""
    alone = results[0]
    for result in results:
        steps = result.all_seconds
        times, processor = result.times(alone), result.processor_times(alone)
        arithmetic = result.told["flops"] / alone.told["flops"]
        print(
            f"  {result.work.arm:16} {result.typical:7.3f} s/step ({min(steps):.3f} to {max(steps):.3f})"
            f"  {result.told['flops'] / 1e9:7.1f} GFLOP, steps add {result.growth / MIB:5.0f} MiB"
            f"  [{result.told['trained']} numbers trained]"
        )
        if result is not alone:
            print(
                f"    of the LoRA alone: time {median(times):.2f}x ({min(times):.2f} to {max(times):.2f} by round), "
                f"processor time {median(processor):.2f}x, arithmetic {arithmetic:.2f}x"
            )


def main() -> int:
    """Measure what the command line asks for; return 0."""
    from environment import prepare

    chosen = _arguments()
    environment = prepare()
    path = environment.cache / "benchmarks" / f"random-{chosen.model}.safetensors"
    if not path.exists():
        command = [environment.python, ROOT / "scripts" / "random_checkpoint.py", path, chosen.model]
        subprocess.run([str(part) for part in command], env=environment.variables(), check=True)
    named = {name: getattr(chosen, name) for name in ("batch", "rank", "size", "threads", "device", "steps")}
    works = [
        SideWork(arm=arm, checkpoint=str(path), blocks=chosen.rounds, warm_up=WARM_UP, **named)
        for arm in (LORA, PIVOTAL, ENCODER, AFTER)
    ]
    print(
        f"{chosen.model} network, batch {chosen.batch}, {chosen.size}x{chosen.size} pixels, rank {chosen.rank}, fp32, "
        f"threads {chosen.threads}, no checkpointing; {chosen.rounds} rounds of {chosen.steps} steps",
        flush=True,
    )
    report((compare_apart if chosen.apart else compare)(__file__, works, environment))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare training steps with and without the text side.")
    parser.add_argument("--model", choices=["small", "full"], default="small")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--batch", type=int, choices=range(1, PICTURES + 1), default=1)
    parser.add_argument("--rank", type=int, default=16)
    return turn_arguments(parser, steps=1, threads=1)


if __name__ == "__main__":
    if sys.argv[1:2] == [ARM]:
        run_arm(SideWork(**json.loads(sys.argv[2])))
    else:
        sys.exit(main())
