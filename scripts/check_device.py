"""Check training on this machine's own device: ``python3 scripts/check_device.py [--checkpoint FILE] [--size 512]``.

The tests run on the CPU. This trains a few steps on whatever device ComfyUI chooses here (a GPU, if there is one) in
each precision, and checks what must hold on every device: finite losses, the same bits after a resume, a LoRA file
that the stock loader applies as it was trained, a MODEL that stays as it was, memory that is given back. Prints a line
per check and ends with 1 if one failed. Without --checkpoint it uses a small network of random weights.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from as_package import register_pack
from rerun import again_in_environment, in_environment

LOADER_BAR = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}  # largest relative difference of the forward


def main() -> int:
    """Return 0 when every check passed."""
    arguments = _arguments()
    return _check(arguments) if in_environment() else again_in_environment(__file__, ("demo",))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a few steps on this machine's device and check the result.")
    parser.add_argument("--checkpoint", type=Path, help="an SD1.5, SDXL or FLUX.1 checkpoint (default: random, small)")
    parser.add_argument("--size", type=int, default=256, help="side of the training pictures in pixels (default 256)")
    parser.add_argument("--steps", type=int, default=6, help="steps per training, an even number (default 6)")
    return parser.parse_args()


def _check(arguments: argparse.Namespace) -> int:
    _import_host()
    import comfy.model_management
    import torch

    device = comfy.model_management.get_torch_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"device: {name}; torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        check = _Check(arguments, Path(folder))
        on_cpu = device.type == "cpu"
        for precision in ("fp32", "bf16") if on_cpu else ("fp32", "bf16", "fp16"):
            check.precision(precision)
    print(f"{check.failed} failed" if check.failed else "all passed")
    return 1 if check.failed else 0


def _import_host() -> None:
    """Make ComfyUI and the pack importable: the pack under a name, as ComfyUI would load it."""
    sys.path.append(os.environ["COMFYUI_PATH"])
    import torch

    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        import comfy.cli_args

        comfy.cli_args.args.cpu = True
    register_pack()


class _Check:
    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        import comfy.sd
        from demo_photographs import write_photographs
        from glitch_lora.dataset.fits import FixedFit
        from glitch_lora.dataset.folder import load_folder
        from glitch_lora.dataset.framing import Frame
        from random_checkpoint import write_random_checkpoint

        self.failed = 0
        self._folder = folder
        self._steps = arguments.steps
        path = arguments.checkpoint or write_random_checkpoint(folder / "random.safetensors", "small")
        self._model, self._clip, self._vae = comfy.sd.load_checkpoint_guess_config(str(path))[:3]
        pictures = load_folder(write_photographs(folder / "photographs"))
        self._dataset = pictures.with_step(Frame(FixedFit(arguments.size, arguments.size)))

    def precision(self, precision: str) -> None:
        """Run every check in one precision."""
        from glitch_lora.host.identity import hash_tensors, unpatched_weights

        before = hash_tensors(unpatched_weights(self._model))
        started = time.perf_counter()
        whole = self._train(precision, "whole", self._steps)
        seconds = (time.perf_counter() - started) / self._steps
        losses = whole.run.losses()
        self._say(precision, "losses finite", all(0 < loss < 1e4 for loss in losses), f"{losses[0]:.4f}, ...")
        times = sorted(line["seconds"] for line in whole.run.metrics())
        print(f"  {precision} {times[len(times) // 2]:.3f} s per step (median), {seconds:.2f} s with set-up")
        self._train(precision, "parts", self._steps // 2)
        parts = self._train(precision, "parts", self._steps)
        same = self._difference(whole.lora(), parts.lora())
        self._say(precision, "resumed equals straight", same == 0, f"largest difference {same:.3g}")
        error = self._loader_error(whole, precision)
        self._say(precision, "stock loader applies what was trained", error < LOADER_BAR[precision], f"{error:.3g}")
        self._say(precision, "MODEL unchanged", hash_tensors(unpatched_weights(self._model)) == before)
        self._say(precision, "memory given back", self._nothing_loaded())

    def _train(self, precision: str, name: str, steps: int) -> Any:
        from glitch_lora.host.graph import ComfyGraph
        from glitch_lora.host.progress import TrainingEvents
        from glitch_lora.training.recipe import Recipe
        from glitch_lora.training.session import Request, train

        recipe = Recipe(
            steps=steps,
            batch_size=2,
            learning_rate=1e-3,
            rank=4,
            alpha=4.0,
            lora_dropout=0.1,
            target_modules="all-linear",
            checkpoint_every=0,
            save_dtype="fp32",
            precision=precision,
            deterministic=True,
        )
        place = self._folder / f"{precision}-{name}"
        request = Request(name, place / "runs", place / "loras", place / "cache")
        graph = ComfyGraph(self._model, self._clip, self._vae)
        return train(graph, self._dataset, recipe, request, TrainingEvents())

    def _loader_error(self, outcome: Any, precision: str) -> float:
        """Return the largest relative difference between the stock loader's forward and the trained network's."""
        import comfy.sd
        import torch
        from glitch_lora.host.encoding import encode_image, encode_text
        from glitch_lora.host.models import private_model
        from glitch_lora.training.conditioning import SizeConditioning

        sample = self._dataset.sample(0)
        text = encode_text(self._clip, sample.caption)
        size = SizeConditioning(sample.image.size, (0, 0), sample.image.size)
        latent = encode_image(self._vae, sample.image)
        patched, _ = comfy.sd.load_lora_for_models(self._model, None, outcome.lora(), 1.0, 0.0)
        outputs = []
        for model, lora in ((patched, None), (self._model, outcome.lora())):
            with private_model(model, precision) as copy, torch.no_grad():
                if lora is not None:
                    self._inject(copy, lora)
                copy.load()
                x0 = copy.scale_latent(latent.to(copy.device).float())
                sigma = copy.sigma_at(torch.tensor([0.5], device=copy.device))
                x_t = copy.add_noise(x0, torch.zeros_like(x0), sigma)
                outputs.append(copy.denoise(x_t, sigma, [copy.conditions(text, x0, size)]))
        return float((outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max())

    def _inject(self, copy: Any, lora: dict[str, Any]) -> None:
        from glitch_lora.training.adapters import LoraAdapters

        names = copy.lora_names()
        adapters = LoraAdapters(copy.network, copy.layers("all-linear"), rank=4, alpha=4.0, dropout=0.0, seed=0)
        copy.adapters_changed()
        state = {}
        for path in adapters.layers:
            for part, suffixes in (("lora_A", (".lora_down", ".lora_A")), ("lora_B", (".lora_up", ".lora_B"))):
                keys = [f"{names[path]}{suffix}.weight" for suffix in suffixes]
                state[f"{path}.{part}"] = next(lora[key] for key in keys if key in lora)
        adapters.load(state)

    def _nothing_loaded(self) -> bool:
        import comfy.model_management

        loaded = [entry.model for entry in comfy.model_management.current_loaded_models]
        return not any("lora_A" in name for patcher in loaded for name, _ in patcher.model.named_modules())

    def _difference(self, a: dict[str, Any], b: dict[str, Any]) -> float:
        return max(float((a[key].float() - b[key].float()).abs().max()) for key in a)

    def _say(self, precision: str, what: str, passed: bool, detail: str = "") -> None:
        self.failed += not passed
        print(f"  {precision} {'passed' if passed else 'FAILED'}: {what} {f'({detail})' if detail else ''}".rstrip())


if __name__ == "__main__":
    raise SystemExit(main())
