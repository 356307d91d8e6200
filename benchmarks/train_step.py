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
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for _folder in ("scripts", "tests"):
    sys.path.append(str(ROOT / _folder))

from as_package import register_pack  # noqa: E402  (scripts/ is on the path only now)

TIME_BAR = 0.5
MIB = 2**20
PICTURES = 4
TOKENS = 77
OURS, MERGED, BYPASS = "ours", "native", "native bypass"


@dataclass(frozen=True)
class Work:
    """What one process does. arm: OURS, MERGED or BYPASS. latent: its side. blocks: counted ones, `steps` each."""

    arm: str
    checkpointing: bool
    model: str
    checkpoint: str
    layers: str
    batch: int
    rank: int
    latent: int
    depth: int
    threads: int
    device: str
    blocks: int
    steps: int
    warm_up: int


# In the process of one arm


class Turns:
    """Waits for this arm's turn, times the steps of a block, reports them, and in the end the memory."""

    def __init__(self, work: Work) -> None:
        self._left = [work.warm_up, *[work.steps] * work.blocks]
        self._seconds: list[float] = []
        self._trained: dict[str, int] = {}
        self._since = self._processor = 0.0

    def start(self, parameters: int, layers: int) -> None:
        """Say that everything is set up; return when it is this arm's turn."""
        self._trained = {"parameters": parameters, "layers": layers}
        self._memory = Memory()
        self._report(ready=True)
        self._wait()

    def step_done(self) -> None:
        """Count one step; at the end of a block, report it and wait for the next turn."""
        _synchronize()
        now = time.perf_counter()
        self._seconds.append(now - self._since)
        self._since = now
        if len(self._seconds) == self._left[0]:
            self._report(seconds=self._seconds, processor=(time.process_time() - self._processor) / self._left[0])
            self._left, self._seconds = self._left[1:], []
            if self._left:
                self._wait()

    def finish(self) -> None:
        """Report the memory."""
        self._report(**self._memory.peaks(), **self._trained)

    def _wait(self) -> None:
        sys.stdin.readline()
        self._processor = time.process_time()
        self._since = time.perf_counter()

    def _report(self, **values: Any) -> None:
        print(json.dumps(values), file=sys.__stdout__, flush=True)


class Memory:
    """Peak memory in bytes: of the whole process, and while stepping over what it held before the first step.

    On CUDA it is the device's allocated memory, else the resident set of the process.
    """

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda.is_available() and _comfy_device().type == "cuda"
        self._before = self._peak()
        self._loaded = torch.cuda.memory_allocated() if self._cuda else self._resident()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        elif _linux():
            Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark

    def peaks(self) -> dict[str, int]:
        """Return "peak" of the process, "growth" of the steps' peak over the loaded state."""
        peak = self._peak()
        return {"peak": max(peak, self._before), "growth": peak - self._loaded}

    def _peak(self) -> int:
        import torch

        if self._cuda:
            return torch.cuda.max_memory_allocated()
        if _linux():
            return _status("VmHWM")
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def _resident(self) -> int:
        return _status("VmRSS") if _linux() else self._before


def _linux() -> bool:
    return Path("/proc/self/clear_refs").exists()


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def _synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _comfy_device() -> Any:
    from comfy.model_management import get_torch_device

    return get_torch_device()


def run_arm(work: Work) -> None:
    """Set the arm up and take its turns; reports go to standard output, everything else that is printed does not."""
    import torch

    sys.stdout = sys.stderr
    sys.path.append(os.environ["COMFYUI_PATH"])
    import comfy.cli_args

    comfy.cli_args.args.cpu = work.device == "cpu" or not torch.cuda.is_available()
    torch.set_num_threads(work.threads)
    turns = Turns(work)
    with torch.inference_mode():  # as ComfyUI runs every node
        model = _model(work)
        (_ours if work.arm == OURS else _native)(work, model, turns)
    turns.finish()


def _model(work: Work) -> Any:
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


def _ours(work: Work, model: Any, turns: Turns) -> None:
    """Train as `GlitchTrain` does, metrics file included."""
    register_pack()
    import torch
    from glitch_lora.host.models import private_model
    from glitch_lora.training.adapters import LoraAdapters
    from glitch_lora.training.loop import Training
    from glitch_lora.training.randomness import preserved_generators
    from glitch_lora.training.recipe import Recipe
    from glitch_lora.training.run import RunWriter

    total = work.warm_up + work.blocks * work.steps
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
                turns.start(sum(p.numel() for p in adapters.named_parameters().values()), len(layers))
                training.run(total, after_step)


def _encoded(work: Work, model: Any, recipe: Any, folder: Path) -> Any:
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


def _native(work: Work, model: Any, turns: Turns) -> None:
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
        "steps": work.warm_up + work.blocks * work.steps,
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


@dataclass(frozen=True)
class Result:
    """One arm's measurement. seconds: of each step, by block. processor: of a step, by block. peak, growth: bytes."""

    work: Work
    seconds: list[list[float]]
    processor: list[float]
    peak: int
    growth: int
    parameters: int
    layers: int

    @property
    def typical(self) -> float:
        """Median seconds of a step."""
        return median(seconds for block in self.seconds for seconds in block)


class Arm:
    """A running process of one arm."""

    def __init__(self, work: Work, process: "subprocess.Popen[str]", log: Any) -> None:
        self.work = work
        self._process = process
        self._log = log
        self._seconds: list[list[float]] = []
        self._processor: list[float] = []

    def answer(self) -> dict[str, Any]:
        """Return the arm's next report. Raises RuntimeError with the end of its log if it died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{self.work.arm} ended early:\n" + "".join(self._log.readlines()[-15:]))
        return json.loads(line)

    def take_turn(self, counted: bool) -> None:
        """Let it run one block."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        block = self.answer()
        if counted:
            self._seconds.append(block["seconds"])
            self._processor.append(block["processor"])

    def result(self) -> Result:
        """Return everything measured; the arm has run all its blocks."""
        return Result(self.work, self._seconds, self._processor, **self.answer())


def compare(works: list[Work], environment: Any) -> list[Result]:
    """Run the arms turn by turn and return their results; every second round in the opposite order."""
    with ExitStack() as stack:
        arms = []
        for work in works:
            arm = stack.enter_context(_started(work, environment))
            arm.answer()  # one set-up at a time
            arms.append(arm)
        for turn in range(1 + works[0].blocks):
            for arm in arms if turn % 2 else reversed(arms):
                arm.take_turn(counted=turn > 0)
        return [arm.result() for arm in arms]


def compare_apart(works: list[Work], environment: Any) -> list[Result]:
    """The same with one process at a time, a new one for each arm and round: slower, in the memory of one arm."""
    rounds = []
    for _ in range(works[0].blocks):
        rounds.append([compare([replace(work, blocks=1)], environment)[0] for work in works])
    return [_joined(results) for results in zip(*rounds, strict=True)]


def _joined(results: Sequence[Result]) -> Result:
    """Return one arm's rounds as one result."""
    return replace(
        results[0],
        seconds=[block for result in results for block in result.seconds],
        processor=[block for result in results for block in result.processor],
        peak=max(result.peak for result in results),
        growth=max(result.growth for result in results),
    )


@contextmanager
def _started(work: Work, environment: Any) -> Iterator[Arm]:
    command = [str(environment.python), str(Path(__file__).resolve()), "--arm", json.dumps(asdict(work))]
    variables = environment.variables() | {"OMP_NUM_THREADS": str(work.threads)}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield Arm(work, process, log)
        finally:
            process.kill()
            process.communicate()


def report(results: list[Result]) -> bool:
    """Print the table and the bars of one checkpointing setting; return whether both bars hold."""
    for result in results:
        steps = [seconds for block in result.seconds for seconds in block]
        print(
            f"  {result.work.arm:14} {result.typical:8.3f} s/step ({min(steps):.3f} to {max(steps):.3f})"
            f"  peak {result.peak / MIB:7.0f} MiB, steps add {result.growth / MIB:7.0f} MiB"
            f"  [{result.layers} layers, {result.parameters} parameters]"
        )
    ours, *native = results
    faster = min(native, key=lambda result: result.typical)
    ratios = [median(mine) / median(theirs) for mine, theirs in zip(ours.seconds, faster.seconds, strict=True)]
    processor = [mine / theirs for mine, theirs in zip(ours.processor, faster.processor, strict=True)]
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
            Work(
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
        held.append(report((compare_apart if chosen.apart else compare)(works, environment)))
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
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps in a round")
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--apart", action="store_true", help="one process at a time: less memory, more set-up")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="auto follows ComfyUI")
    return parser.parse_args()


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
    if sys.argv[1:2] == ["--arm"]:
        run_arm(Work(**json.loads(sys.argv[2])))
    else:
        sys.exit(main())
