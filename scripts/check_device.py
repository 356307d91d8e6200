"""Check training on this machine's own device: ``python3 scripts/check_device.py [--checkpoint FILE] [--size 512]``.

The tests run on the CPU. This trains a few steps on whatever device ComfyUI chooses here (a GPU, if there is one) in
each precision, and checks what must hold on every device: finite losses, the same bits after a resume, a LoRA file
that the stock loader applies as it was trained, a MODEL that stays as it was, memory that is given back. Then the same
of a word with LoRA on the text encoders (SD1.5 and SDXL): a resume at the pivot, a word that stays as it is behind it,
and files that CLIPTextEncode reads as they were trained. Prints a line per check, and the peak memory, and ends with 1
if one failed. Without --checkpoint it uses a small network of random weights.
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
WORD_BAR = 1e-4  # the same of a caption's conditioning, with the word alone
ENCODER_BAR = 2e-2  # and with LoRA that the stock loader merged into weights of 16 bits
WORD, START = "prtkl", "glitch art"


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
            check.text_side(precision)
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
        self._embeddings = folder / "embeddings"
        self._embeddings.mkdir()
        loaded = comfy.sd.load_checkpoint_guess_config(str(path), embedding_directory=str(self._embeddings))
        self._model, self._clip, self._vae = loaded[:3]
        pictures = load_folder(write_photographs(folder / "photographs"))
        self._dataset = pictures.with_step(Frame(FixedFit(arguments.size, arguments.size)))

    def precision(self, precision: str) -> None:
        """Run every check in one precision."""
        from glitch_lora.host.identity import hash_tensors, unpatched_weights

        before = hash_tensors(unpatched_weights(self._model))
        self._forget_peak()
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
        print(f"  {precision} {self._peak()}")

    def text_side(self, precision: str) -> None:
        """Run every check of a word and LoRA on the text encoders in one precision."""
        from glitch_lora.host.identity import hash_tensors, unpatched_weights
        from glitch_lora.host.text_model import require_trainable_text

        try:
            require_trainable_text(self._clip)
        except ValueError as error:
            return print(f"  {precision} no text side: {error}")
        before = hash_tensors(unpatched_weights(self._clip.patcher))
        self._forget_peak()
        whole = self._train(precision, "word", self._steps, **self._text_settings())
        losses = whole.run.losses()
        self._say(
            precision, "losses with a word finite", all(0 < loss < 1e4 for loss in losses), f"{losses[0]:.4f}, ..."
        )
        times = sorted(line["seconds"] for line in whole.run.metrics())
        print(f"  {precision} {times[len(times) // 2]:.3f} s per step (median) with a word and its text encoders")
        self._pivot(precision, whole)
        self._heard(precision, whole)
        self._say(precision, "CLIP unchanged", hash_tensors(unpatched_weights(self._clip.patcher)) == before)
        self._say(precision, "memory of the text side given back", self._nothing_loaded())
        print(f"  {precision} {self._peak()}")

    def _text_settings(self) -> dict[str, Any]:
        from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings

        word = EmbeddingSettings(WORD, num_vectors=2, init_text=START, learning_rate=1e-2, ti_frac=0.5)
        return {
            "embeddings": (word,),
            "text_encoder": TextEncoderSettings(1e-3, 1e-3, rank=4, alpha=4.0),
            "checkpoint_every": self._steps // 2,
            "caption_dropout": 0.0,
        }

    def _pivot(self, precision: str, whole: Any) -> None:
        """Check a training that stops at the pivot and goes on, and that the word stays as it is behind it."""
        from glitch_lora.training.lora_file import load_safetensors

        half = self._steps // 2
        for asked in ({"mode": "steps per queue", "steps_per_queue": half}, {}):
            parts = self._train(precision, "word in parts", self._steps, asked, **self._text_settings())
        files = [load_safetensors(run.checkpoint(self._steps).path)[0] for run in (whole.run, parts.run)]
        difference = self._difference(*files)
        self._say(
            precision, "resumed at the pivot equals straight", difference == 0, f"largest difference {difference:.3g}"
        )
        words = [whole.run.words(step)[WORD] for step in (half, self._steps)]
        self._say(precision, "word frozen behind the pivot", self._difference(*words) == 0)

    def _heard(self, precision: str, outcome: Any) -> None:
        """Check that the stock nodes hear the published files as the training heard word and adapters."""
        import comfy.sd
        import torch
        from glitch_lora.host.text_model import private_text

        words = outcome.run.words(outcome.step)
        lora = {name: value for name, value in outcome.lora().items() if name.startswith("lora_te")}
        _, patched = comfy.sd.load_lora_for_models(None, self._clip, lora, 0.0, 1.0)
        with private_text(self._clip) as text:
            text.load()
            start = {encoder: text.table(encoder)[text.token_ids(encoder, START)[:2]] for encoder in text.encoders}
            alone = self._text_error(text, words, self._clip, outcome)
            self._inject(text, text.layers("attention", text.encoders), lora)
            merged = self._text_error(text, words, patched, outcome)
        moved = self._difference(words[WORD], start)
        self._say(precision, "word learnt", moved > 0, f"moved by {moved:.3g}")
        self._say(precision, "CLIPTextEncode hears the published word as trained", alone < WORD_BAR, f"{alone:.3g}")
        bar = WORD_BAR if self._clip.cond_stage_model.dtypes == {torch.float32} else ENCODER_BAR
        self._say(precision, "and with the text encoders' LoRA", merged < bar, f"{merged:.3g}")

    def _text_error(self, text: Any, words: Any, clip: Any, outcome: Any) -> float:
        """Return the largest relative difference between CLIPTextEncode's conditioning and the training's."""
        import torch

        from nodes import CLIPTextEncode

        with torch.no_grad():
            trained = text.encode(f"a photograph of {WORD}", words).cross_attn.float().cpu()
            prompt = f"a photograph of {outcome.words[0].prompt_text}"
            stock = CLIPTextEncode().encode(clip, prompt)[0][0][0].float().cpu()
        return float((stock - trained).abs().max() / trained.abs().max())

    def _train(
        self, precision: str, name: str, steps: int, asked: dict[str, Any] | None = None, **settings: Any
    ) -> Any:
        """Train; asked: of the request. settings: of the recipe."""
        from glitch_lora.dataset.captions import TriggerWord
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
            save_dtype="fp32",
            precision=precision,
            deterministic=True,
            **{"checkpoint_every": 0} | settings,
        )
        place = self._folder / f"{precision}-{name}"
        request = Request(
            name,
            place / "runs",
            place / "loras",
            place / "cache",
            embeddings_folder=self._embeddings,
            **asked or {},
        )
        graph = ComfyGraph(self._model, self._clip, self._vae)
        dataset = self._dataset.with_step(TriggerWord(WORD)) if recipe.trains_text else self._dataset
        return train(graph, dataset, recipe, request, TrainingEvents())

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
                    self._inject(copy, copy.layers("all-linear"), lora)
                copy.load()
                x0 = copy.scale_latent(latent.to(copy.device).float())
                sigma = copy.sigma_at(torch.tensor([0.5], device=copy.device))
                x_t = copy.add_noise(x0, torch.zeros_like(x0), sigma)
                outputs.append(copy.denoise(x_t, sigma, [copy.conditions(text, x0, size)]))
        return float((outputs[0] - outputs[1]).abs().max() / outputs[0].abs().max())

    def _inject(self, copy: Any, layers: list[str], lora: dict[str, Any]) -> None:
        from glitch_lora.training.adapters import LoraAdapters

        names = copy.lora_names()
        adapters = LoraAdapters(copy.network, layers, rank=4, alpha=4.0, dropout=0.0, seed=0)
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

    def _forget_peak(self) -> None:
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def _peak(self) -> str:
        """Return a line on the most memory that was held: on the device since the last reset, else of the process."""
        import torch

        if torch.cuda.is_available():
            return f"peak {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB on the device"
        if sys.platform == "win32":
            return "peak not measured on this system's CPU"
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return f"peak {peak / 2**20:.0f} MiB of the whole process so far"

    def _difference(self, a: dict[str, Any], b: dict[str, Any]) -> float:
        return max(float((a[key].float() - b[key].float()).abs().max()) for key in a)

    def _say(self, precision: str, what: str, passed: bool, detail: str = "") -> None:
        self.failed += not passed
        print(f"  {precision} {'passed' if passed else 'FAILED'}: {what} {f'({detail})' if detail else ''}".rstrip())


if __name__ == "__main__":
    raise SystemExit(main())
