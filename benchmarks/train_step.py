"""One training step of ours against one of ComfyUI's own trainer: ``python3 benchmarks/train_step.py [options]``.

Makes the environment like the other scripts (or uses the ComfyUI of COMFYUI_PATH). Needs no model: the networks have
ComfyUI's own classes and random weights (`--model tiny`, `small`: 0.4 GB file, `full`: SD1.5, 2.1 GB file, about
10 GB of memory per process).

Compared are our `Training` and the native `TrainLoraNode` in both of its modes (adapters merged into the weights at
every forward, or as a bypass), with and without gradient checkpointing: same network, adapted layers (all linear and
convolution layers that we adapt; `--layers own` lets the native node adapt everything it would, norms and biases too),
rank, batch, latents, conditioning, precision (fp32), optimizer (AdamW) and threads. Each runs in a process of its own;
all of them are set up first, then take turns, block by block, and only the one whose turn it is runs. So a slow
moment of the machine hits neighbours, and ratios are taken round by round. Loading, encoding and the first, warming
block are not counted. On a busy machine read the processor time; `--threads 1` disturbs others least.

The native node evaluates every caption of a batch on every latent of it and trains on the mean: a batch of B costs it
B * B network evaluations, ours B. `--batch 1` shows the step without that difference. On the tiny network with small
latents the process's memory is mostly what was imported: `--latent 64` shows the steps' own.

The last lines say whether the bars hold: at most half the time of its faster mode, and not more memory than that one.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for _folder in ("scripts", "tests", "benchmarks"):
    sys.path.append(str(ROOT / _folder))

from as_package import register_pack  # noqa: E402  (scripts/ is on the path only now)
from turns import ARM, MIB, Result, Turns, Work, compare, compare_apart, import_comfy, turn_arguments  # noqa: E402

TIME_BAR = 0.5
PICTURES = 4
TOKENS = 77
OURS, MERGED, BYPASS = "ours", "native", "native bypass"


@dataclass(frozen=True, kw_only=True)
class StepWork(Work):
    """What one process does. arm: OURS, MERGED or BYPASS. latent: its side."""

    checkpointing: bool
    model: str
    checkpoint: str
    layers: str
    batch: int
    rank: int
    latent: int
    depth: int


# In the process of one arm


def run_arm(work: StepWork) -> None:
    """Set the arm up and take its turns; reports go to standard output, everything else that is printed does not."""
    import torch

    sys.stdout = sys.stderr
    import_comfy(work)
    turns = Turns(work)
    with torch.inference_mode():  # as ComfyUI runs every node
        model = _model(work)
        (_ours if work.arm == OURS else _native)(work, model, turns)
    turns.finish()


def _model(work: StepWork) -> Any:
    if work.model == "tiny":
        from tiny_models import tiny_sd15

        return tiny_sd15()
    import comfy.sd

    return comfy.sd.load_checkpoint_guess_config(work.checkpoint, output_vae=False, output_clip=False)[0]


def _latent(number: int, side: int) -> Any:
    import torch

    return torch.randn((1, 4, side, side), generator=torch.Generator().manual_seed(number))


def _context(number: int, width: int) -> Any:
    import torch

    return torch.randn((1, TOKENS, width), generator=torch.Generator().manual_seed(1000 + number))


def _context_width(model: Any) -> int:
    return model.model.model_config.unet_config["context_dim"]


def _adapted(model: Any) -> list[str]:
    from glitch_lora.host.families import family_of

    return family_of(model).layers(model.model.diffusion_model, "all-linear+conv")


def _ours(work: StepWork, model: Any, turns: Turns) -> None:
    """Train as `GlitchTrain` does, metrics file included."""
    register_pack()
    import torch
    from glitch_lora.host.models import private_model
    from glitch_lora.training.adapters import LoraAdapters
    from glitch_lora.training.loop import Training
    from glitch_lora.training.randomness import preserved_generators
    from glitch_lora.training.recipe import Recipe
    from glitch_lora.training.run import RunWriter

    total = work.total
    recipe = Recipe(
        steps=total,
        batch_size=work.batch,
        rank=work.rank,
        alpha=1.0,
        target_modules="all-linear+conv",
        caption_dropout=0.0,
        gradient_checkpointing=work.checkpointing,
        precision="fp32",
    )
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False), preserved_generators():
        data = _encoded(work, model, recipe, Path(folder))
        writer = RunWriter.create(Path(folder), "0" * 64, "benchmark", {})
        with private_model(model, recipe.precision) as private:
            layers = private.layers(recipe.target_modules)
            adapters = LoraAdapters(
                private.network, layers, rank=work.rank, alpha=recipe.alpha, dropout=0.0, seed=recipe.seed
            )
            private.adapters_changed()

            def after_step(record: Any) -> None:
                writer.append_metrics(record.to_json())
                turns.step_done()

            with torch.enable_grad():
                training = Training(private, adapters, data, recipe, total)
                trained = sum(p.numel() for p in adapters.named_parameters().values())
                turns.start(parameters=trained, layers=len(layers))
                training.run(total, after_step)


def _encoded(work: StepWork, model: Any, recipe: Any, folder: Path) -> Any:
    """Return the benchmark's latents and conditioning as an encoded dataset; the pictures only stand for them."""
    import numpy as np
    from glitch_lora.dataset.from_images import dataset_from_images
    from glitch_lora.training.conditioning import TextConditioning
    from glitch_lora.training.encode import encode_dataset
    from glitch_lora.training.store import RamStore

    side = work.latent * 8
    pictures = [np.full((side, side, 3), number / PICTURES, dtype=np.float32) for number in range(PICTURES)]

    class Encoders:
        def encode_image(self, image: Any) -> Any:
            return _latent(round(image.getpixel((0, 0))[0] / 255 * PICTURES), work.latent)

        def encode_text(self, text: str) -> Any:
            return TextConditioning(_context(int(text or 0), _context_width(model)), {})

        def free(self) -> None: ...

    class Events:
        def check(self) -> None: ...
        def status(self, line: str) -> None: ...
        def step(self, step: int, total: int, line: str) -> None: ...
        def preview(self, step: int, image: Any) -> None: ...

    dataset = dataset_from_images(pictures, [str(number) for number in range(PICTURES)], folder)
    return encode_dataset(dataset, Encoders(), recipe, {"vae": "", "clip": ""}, RamStore(), Events())


def _native(work: StepWork, model: Any, turns: Turns) -> None:
    """Run `TrainLoraNode` once; its progress bar, told of every step, takes the turns."""
    import comfy.utils
    import torch
    from comfy_extras import nodes_train

    comfy.utils.set_progress_bar_enabled(False)
    trained: dict[str, int] = {}

    class Bar(comfy.utils.ProgressBar):  # type: ignore[misc]
        def __init__(self, total: int) -> None:
            super().__init__(total)
            turns.start(**trained)

        def update(self, value: int) -> None:
            super().update(value)
            turns.step_done()

    nodes_train.ProgressBar = Bar
    if work.layers == "same":
        register_pack()
        _adapt_only(nodes_train, [f"diffusion_model.{path}" for path in _adapted(model)])
    for name in ("_setup_lora_adapters", "_setup_lora_adapters_bypass"):
        setattr(nodes_train, name, _counted(getattr(nodes_train, name), trained))
    latents = torch.cat([_latent(number, work.latent) for number in range(PICTURES)])
    conditioning = [[_context(number, _context_width(model)), {}] for number in range(PICTURES)]
    settings = {
        "model": model,
        "batch_size": work.batch,
        "steps": work.total,
        "grad_accumulation_steps": 1,
        "learning_rate": 1e-4,
        "rank": work.rank,
        "optimizer": "AdamW",
        "loss_function": "MSE",
        "seed": 0,
        "training_dtype": "fp32",
        "lora_dtype": "fp32",
        "quantized_backward": False,
        "algorithm": "LoRA",
        "gradient_checkpointing": work.checkpointing,
        "checkpoint_depth": work.depth,
        "offloading": False,
        "existing_lora": "[None]",
        "bucket_mode": False,
        "bypass_mode": work.arm == BYPASS,
    }
    as_lists = {name: [value] for name, value in settings.items()}
    nodes_train.TrainLoraNode.execute(latents=[{"samples": latents}], positive=[conditioning], **as_lists)


def _adapt_only(nodes_train: Any, names: list[str]) -> None:
    """Let the native node adapt these layers alone, with its own adapters; in this process only."""

    def made(mp: Any, existing: Any, algorithm: str, dtype: Any, rank: int) -> Iterator[tuple[str, Any, Any]]:
        for name in names:
            module = mp.model.get_submodule(name)
            yield f"{name}.weight", *nodes_train._create_weight_adapter(module, name, existing, algorithm, dtype, rank)

    def merged(mp: Any, *settings: Any) -> tuple[Any, Any]:
        parameters, adapters = {}, []
        for key, adapter, own in made(mp, *settings):
            mp.add_weight_wrapper(key, adapter)
            parameters.update(own)
            adapters.append(adapter)
        return parameters, adapters

    def bypass(mp: Any, *settings: Any) -> tuple[Any, Any, Any]:
        parameters, adapters, manager = {}, [], nodes_train.BypassInjectionManager()
        for key, adapter, own in made(mp, *settings):
            manager.add_adapter(key, adapter, strength=1.0)
            parameters.update(own)
            adapters.append(adapter)
        return parameters, adapters, manager

    nodes_train._setup_lora_adapters = merged
    nodes_train._setup_lora_adapters_bypass = bypass


def _counted(setup: Callable[..., Any], trained: dict[str, int]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        made = setup(*arguments)
        trained["parameters"] = sum(p.numel() for p in made[0].values())
        trained["layers"] = len(made[1])
        return made

    return run


# In the process that compares


def report(results: list[Result]) -> bool:
    """Print the table and the bars of one checkpointing setting; return whether both bars hold."""
    for result in results:
        steps = result.all_seconds
        print(
            f"  {result.work.arm:14} {result.typical:8.3f} s/step ({min(steps):.3f} to {max(steps):.3f})"
            f"  peak {result.peak / MIB:7.0f} MiB, steps add {result.growth / MIB:7.0f} MiB"
            f"  [{result.told['layers']} layers, {result.told['parameters']} parameters]"
        )
    ours, *native = results
    faster = min(native, key=lambda result: result.typical)
    ratios, processor = ours.times(faster), ours.processor_times(faster)
    time_holds, memory_holds = median(ratios) <= TIME_BAR, ours.peak <= faster.peak
    print(f"  against {faster.work.arm}, its faster mode:")
    print(
        f"    time   {median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f} by round), "
        f"bar {TIME_BAR}x: {_holds(time_holds)}; processor time {median(processor):.2f}x"
    )
    print(
        f"    memory {ours.peak / faster.peak:.2f}x of the process, "
        f"{ours.growth / faster.growth:.2f}x of what the steps add, bar 1.00x of the process: {_holds(memory_holds)}"
    )
    return time_holds and memory_holds


def _holds(holds: bool) -> str:
    return "holds" if holds else "MISSED"


def main() -> int:
    """Measure what the command line asks for; return 0 when every bar holds."""
    from environment import prepare

    chosen = _arguments()
    environment = prepare()
    checkpoint = _checkpoint(chosen.model, environment)
    print(
        f"{chosen.model} network, batch {chosen.batch}, latent {chosen.latent}x{chosen.latent}, rank {chosen.rank}, "
        f"{chosen.layers} layers, fp32, {chosen.threads} threads; {chosen.rounds} rounds of {chosen.steps} steps"
    )
    held = []
    for checkpointing in {"off": [False], "on": [True], "both": [False, True]}[chosen.checkpointing]:
        works = [
            StepWork(
                arm=arm,
                checkpointing=checkpointing,
                checkpoint=checkpoint,
                blocks=chosen.rounds,
                **{
                    name: getattr(chosen, name)
                    for name in ("model", "layers", "batch", "rank", "latent", "depth", "threads", "device")
                },
                steps=chosen.steps,
                warm_up=chosen.warm_up,
            )
            for arm in (OURS, MERGED, BYPASS)
        ]
        depth = f" (native depth {chosen.depth})" if checkpointing else ""
        print(f"gradient checkpointing {'on' + depth if checkpointing else 'off'}", flush=True)
        held.append(report((compare_apart if chosen.apart else compare)(__file__, works, environment)))
    return 0 if all(held) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare a training step with ComfyUI's own trainer.")
    parser.add_argument("--model", choices=["tiny", "small", "full"], default="tiny")
    parser.add_argument("--layers", choices=["same", "own"], default="same", help="what the native node adapts")
    parser.add_argument("--checkpointing", choices=["off", "on", "both"], default="both")
    parser.add_argument("--depth", type=int, default=2, help="the native node's checkpoint_depth; 2 is its blocks")
    parser.add_argument("--batch", type=int, choices=range(1, PICTURES + 1), default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--latent", type=int, default=32, help="side of the latents, an eighth of the pictures'")
    parser.add_argument("--warm-up", type=int, default=2)
    return turn_arguments(parser, steps=2, threads=os.cpu_count() or 1)


def _checkpoint(model: str, environment: Any) -> str:
    """Return the path of the random checkpoint, written if it is not there; none for the tiny network."""
    if model == "tiny":
        return ""
    path = environment.cache / "benchmarks" / f"random-{model}.safetensors"
    if not path.exists():
        command = [environment.python, ROOT / "scripts" / "random_checkpoint.py", path, model]
        subprocess.run([str(part) for part in command], env=environment.variables(), check=True)
    return str(path)


if __name__ == "__main__":
    if sys.argv[1:2] == [ARM]:
        run_arm(StepWork(**json.loads(sys.argv[2])))
    else:
        sys.exit(main())
