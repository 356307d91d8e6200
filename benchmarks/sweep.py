"""A sweep's time per picture against the stock nodes: ``python3 benchmarks/sweep.py [options]``.

Makes the environment like the other scripts (or uses the ComfyUI of COMFYUI_PATH). Needs no model: the tiny network
has ComfyUI's own classes and random weights; `--model small` and `--model full` write an SD1.5 checkpoint of random
weights first (0.4 and 2.1 GB), `--checkpoint FILE` takes one of yours.

Both render the same cells in one process, turn by turn: two checkpoints and the base, one prompt, some seeds. The
stock side is what a graph of Load LoRA, CLIP Text Encode, KSampler, VAE Decode and Save Image would do, each LoRA
loaded and each prompt encoded once as ComfyUI's cache allows. Both write PNG files. The pictures are compared too.
The last line says whether the bar holds: a picture of the sweep takes at most 1.1 times the stock graph's.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for _folder in ("scripts", "tests"):
    sys.path.append(str(ROOT / _folder))

BAR = 1.1
STEPS = (5, 10)


def main() -> int:
    """Prepare the environment and measure in a process of its own; return 0 when the bar holds."""
    from environment import prepare

    chosen = _arguments()
    environment = prepare()
    checkpoint = chosen.checkpoint or ""
    if chosen.model != "tiny" and not checkpoint:
        path = environment.cache / "benchmarks" / f"random-{chosen.model}.safetensors"
        if not path.exists():
            command = [str(environment.python), str(ROOT / "scripts" / "random_checkpoint.py"), str(path), chosen.model]
            subprocess.run(command, env=environment.variables(), check=True)
        checkpoint = str(path)
    command = [str(environment.python), str(Path(__file__).resolve()), "--measure", *sys.argv[1:]]
    command += ["--checkpoint", checkpoint] if checkpoint and not chosen.checkpoint else []
    variables = environment.variables() | {"OMP_NUM_THREADS": str(chosen.threads)}
    return subprocess.run(command, env=variables).returncode


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare a sweep with the stock nodes.")
    parser.add_argument("--model", choices=["tiny", "small", "full"], default="tiny")
    parser.add_argument("--checkpoint", help="an SD1.5 checkpoint file")
    parser.add_argument("--size", type=int, default=128, help="side of the pictures in pixels")
    parser.add_argument("--steps", type=int, default=5, help="sampler steps")
    parser.add_argument("--seeds", type=int, default=3, help="pictures per checkpoint")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(chosen: argparse.Namespace) -> int:
    """Take turns, print seconds per picture and the ratio; return 0 when the bar holds."""
    _import_pack()
    import torch

    torch.set_num_threads(chosen.threads)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:  # as ComfyUI runs every node
        parts = _models(chosen.checkpoint)
        run, plan = _run_and_plan(Path(folder), parts[0], chosen)
        seconds: dict[str, list[float]] = {"sweep": [], "stock": []}
        processor: dict[str, list[float]] = {"sweep": [], "stock": []}
        for number in range(1 + chosen.rounds):
            turns: dict[str, Callable[[], Any]] = {
                "sweep": lambda number=number: _sweep(Path(folder) / f"run-{number}", run, plan, parts),  # type: ignore[misc]
                "stock": lambda number=number: _stock(Path(folder) / f"stock-{number}", run, plan, parts),  # type: ignore[misc]
            }
            made = {}
            for arm in sorted(turns, reverse=bool(number % 2)):
                started, worked = time.perf_counter(), time.process_time()
                made[arm] = turns[arm]()
                if number:  # the first round warms up
                    seconds[arm].append((time.perf_counter() - started) / plan.count)
                    processor[arm].append((time.process_time() - worked) / plan.count)
            _compare(made["sweep"], made["stock"])
    print("the pictures are equal")
    _report("processor time", processor, plan.count)
    return 0 if _report("time", seconds, plan.count) <= BAR else 1


def _import_pack() -> None:
    sys.path.append(os.environ["COMFYUI_PATH"])
    import comfy.cli_args
    import torch

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    spec = importlib.util.spec_from_file_location(
        "glitch_lora", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules["glitch_lora"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _models(checkpoint: str | None) -> tuple[Any, Any, Any]:
    if not checkpoint:
        from sweep_scene import family

        return family("sd15")
    import comfy.sd

    return comfy.sd.load_checkpoint_guess_config(checkpoint)[:3]


def _run_and_plan(folder: Path, model: Any, chosen: argparse.Namespace) -> tuple[Any, Any]:
    from glitch_lora.sampling.plan import SweepPlan
    from sweep_scene import write_run

    plan = SweepPlan(
        checkpoint=STEPS,
        prompt=("a photograph of a cat",),
        seed=tuple(range(chosen.seeds)),
        steps=(chosen.steps,),
        size=((chosen.size, chosen.size),),
        rows="seed",
    )
    return write_run(folder / "lora", "sd15", model, steps=STEPS), plan


def _sweep(folder: Path, run: Any, plan: Any, parts: tuple[Any, Any, Any]) -> dict[Any, Path]:
    """Render the plan into a run folder that has no pictures yet."""
    from glitch_lora.host.progress import Progress, check_interrupt
    from glitch_lora.sampling.lora_renderer import sweep_checkpoints
    from glitch_lora.training.run import Run

    shutil.copytree(run.folder, folder)
    sweep, _ = sweep_checkpoints(Run(folder), plan, *parts, Progress(plan.count), check_interrupt, {})
    return sweep.cells()


def _stock(folder: Path, run: Any, plan: Any, parts: tuple[Any, Any, Any]) -> dict[Any, Path]:
    """Render the same cells with ComfyUI's node classes."""
    import folder_paths

    import nodes as stock

    model, clip, vae = parts
    folder.mkdir()
    folder_paths.set_output_directory(str(folder))
    folder_paths.add_model_folder_path("loras", str(run.folder / "checkpoints"), is_default=True)
    loader, encoder, saver = stock.LoraLoader(), stock.CLIPTextEncode(), stock.SaveImage()
    made, state = {}, None
    for cell in plan.cells():
        if cell.state != state:
            state, with_lora = cell.state, (model, clip)
            if cell.checkpoint:
                name = run.checkpoint(cell.checkpoint).path.name
                with_lora = loader.load_lora(model, clip, name, cell.strength, cell.strength)
            positive, negative = (encoder.encode(with_lora[1], text)[0] for text in (cell.prompt, cell.negative))
        latent = stock.EmptyLatentImage().generate(*cell.size)[0]
        (samples,) = stock.KSampler().sample(
            with_lora[0], cell.seed, cell.steps, cell.cfg, cell.sampler, cell.scheduler, positive, negative, latent
        )
        (images,) = stock.VAEDecode().decode(vae, samples)
        saved = saver.save_images(images)["ui"]["images"][0]
        made[cell] = folder / saved["subfolder"] / saved["filename"]
    return made


def _compare(ours: dict[Any, Path], stock: dict[Any, Path]) -> None:
    import numpy as np
    from PIL import Image

    for cell, path in ours.items():
        with Image.open(path) as one, Image.open(stock[cell]) as other:
            if (np.asarray(one) != np.asarray(other)).any():
                raise AssertionError(f"{cell}: the sweep's picture is not the stock graph's")


def _report(kind: str, seconds: dict[str, list[float]], pictures: int) -> float:
    """Print both arms and return the median ratio; on a busy machine processor time is the steadier one."""
    for arm, rounds in seconds.items():
        spread = f"{min(rounds):.4f} to {max(rounds):.4f}"
        print(f"{kind}, {arm}: {median(rounds):.4f} s/picture ({spread}), {pictures} pictures a round")
    ratios = [ours / stock for ours, stock in zip(seconds["sweep"], seconds["stock"], strict=True)]
    ratio = median(ratios)
    verdict = "holds" if ratio <= BAR else "MISSED"
    print(f"{kind}, ratio {ratio:.3f} ({min(ratios):.3f} to {max(ratios):.3f}), bar {BAR}: {verdict}")
    return ratio


if __name__ == "__main__":
    arguments = _arguments()
    sys.exit(measure(arguments) if arguments.measure else main())
