"""Train the demo model from nothing: ``python3 scripts/train_demo_model.py [--steps N] [--work DIR]``.

Draws every picture of every batch (nothing is read from disk, no picture comes twice), trains the text encoder and the
UNet together by flow matching and writes the averaged weights as one fp16 file. Pictures, words and noise are functions
of (seed, step): run again with the same arguments on the same machine, an interrupted training goes on from its last
saved state to the same weights. With more --steps it goes on too; the rate follows the longer plan. A GPU is used if
there is one. Rows of the loss go to DIR/loss.csv. ``--export`` writes the weights of a state that is not finished.
"""

import argparse
import copy
import csv
import json
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from as_package import register_pack
from environment import cache_folder
from rerun import again_in_environment, in_environment

TOKENS = 77
WARM_UP = 200
ANNEALED = 0.3  # the last part of the training, in which the learning rate falls to 0
TEXT_RATE = 0.3  # of the learning rate, for the text encoder
EMA = 0.9995
NO_CAPTION = 0.1  # for classifier-free guidance
UNKNOWN_WORD = 0.15  # so that a word the model does not know disturbs nothing
# The error of the velocity is that of the picture over sigma squared. It counts at most this much more than the
# picture's, or the last touches to a nearly clean picture would drown what is to be in it (in the spirit of min-SNR
# weighting, Hang et al. 2023).
MOST_WEIGHT = 5.0
SAVE_EVERY = 250
LOG_EVERY = 50


def main() -> int:
    """Return 0 when the weights are written."""
    arguments = _arguments()
    if not in_environment():
        return again_in_environment(__file__, ())
    _import_host()
    training = Training(arguments)
    training.run()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the demo model.")
    parser.add_argument("--steps", type=int, default=9200, help="updates (default 9200)")
    parser.add_argument("--batch", type=int, default=32, help="pictures per update (default 32)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="peak rate of AdamW (default 1e-3)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=cache_folder() / "demo-model", help="where the state is kept")
    parser.add_argument("--output", type=Path, help="where the weights go (default: their place in the repository)")
    parser.add_argument("--export", action="store_true", help="write the weights of the saved state and stop")
    return parser.parse_args()


def _import_host() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # each worker has a core
    sys.path.append(os.environ["COMFYUI_PATH"])
    import comfy.cli_args
    import torch

    comfy.cli_args.args.cpu = not torch.cuda.is_available()
    comfy.cli_args.args.use_pytorch_cross_attention = True
    register_pack()


class Words:
    """Captions as rows of token numbers, by ComfyUI's own tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer.clip_l
        self._known: dict[str, list[int]] = {}

    def row(self, caption: str, source: random.Random) -> list[int]:
        """Return 77 numbers: start, words, end, padding; by chance without words, or with one the model ignores."""
        words = [] if source.random() < NO_CAPTION else [self._tokens(word) for word in caption.split()]
        if words and source.random() < UNKNOWN_WORD:
            words.insert(source.randrange(len(words) + 1), [source.randrange(self._tokenizer.end_token - 1)])
        tokens = [self._tokenizer.start_token, *(token for word in words for token in word)]
        return tokens + [self._tokenizer.end_token] * (TOKENS - len(tokens))

    def _tokens(self, word: str) -> list[int]:
        if word not in self._known:
            self._known[word] = self._tokenizer.tokenizer(word)["input_ids"][1:-1]
        return self._known[word]


class Training:
    """Weights, their average and the optimizer's state, and the loop that changes them."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        import torch
        from glitch_lora.host import demo_model

        self.arguments = arguments
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        clip = demo_model.build_clip()
        self.words = Words(clip.tokenizer)
        self.autoencoder = demo_model.BlockAutoencoder().to(self.device)
        self.text = clip.cond_stage_model.clip_l.transformer.to(self.device)
        self.unet = demo_model.build_network().diffusion_model.to(self.device)
        self.weights = _named(self.text, self.unet)
        _initialise(self.text, self.unet, arguments.seed)
        for value in self.weights.values():
            value.requires_grad_(True)
        workers = 1 if self.device.type == "cuda" else min(os.cpu_count() or 1, arguments.batch)
        self.workers = [Worker(self.text, self.unet) for _ in range(workers)]
        self.average = {name: value.detach().clone() for name, value in self.weights.items()}
        self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.99), fused=True)
        self.step = 0
        self._load()

    def run(self) -> None:
        """Train to the last step, saving on the way, and write the weights."""
        if self.arguments.export and not self.step:
            raise SystemExit(f"{self._state_file()}: got no state, needed one to export, train first")
        started, first, losses = time.monotonic(), self.step, []
        while self.step < self.arguments.steps and not self.arguments.export:
            losses.append(self._update())
            if self.step % LOG_EVERY == 0:
                seconds = (time.monotonic() - started) / (self.step - first)
                self._log(sum(losses) / len(losses), seconds)
                losses = []
            if self.step % SAVE_EVERY == 0 or self.step == self.arguments.steps:
                self._save()
        self.export()

    def _groups(self) -> list[dict[str, Any]]:
        """Return the optimizer's groups: matrices decay, words, biases and norms do not; the text learns slower."""
        groups: dict[tuple[float, float], list[Any]] = {}
        for name, value in self.weights.items():
            rate = TEXT_RATE if name.startswith("clip.") else 1.0
            decay = 0.01 if value.ndim > 1 and "embedding" not in name else 0.0
            groups.setdefault((rate, decay), []).append(value)
        return [{"params": some, "rate": rate, "weight_decay": decay} for (rate, decay), some in groups.items()]

    def export(self) -> None:
        """Write the averaged weights in fp16, with how they came about."""
        import torch
        from glitch_lora.host.demo_model import WEIGHTS, save_weights

        facts = {"steps": self.step, "batch": self.arguments.batch, "learning_rate": self.arguments.learning_rate}
        facts |= {"planned_steps": self.arguments.steps, "seed": self.arguments.seed}
        path = self.arguments.output or WEIGHTS
        save_weights(path, {name: value.to(torch.float16) for name, value in self.average.items()}, facts)
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB after {self.step} steps")

    def _update(self) -> float:
        import torch

        for group in self.optimizer.param_groups:
            group["lr"] = self.arguments.learning_rate * group["rate"] * _rate(self.step, self.arguments.steps)
        batch, count = self._batch(), len(self.workers)
        with ThreadPoolExecutor(count) as pool:
            shares = [tuple(part[index::count] for part in batch) for index in range(count)]
            portions = [len(share[0]) / self.arguments.batch for share in shares]
            losses = list(pool.map(Worker.backward, self.workers, shares))
        with torch.no_grad():
            for name, value in self.weights.items():
                parts = [worker.weights[name].grad for worker in self.workers]
                if parts[0] is not None:  # nothing is learned for the projection of the pooled output
                    value.grad = sum(part.float() * share for part, share in zip(parts, portions, strict=True))
            torch.nn.utils.clip_grad_norm_(self.weights.values(), 1.0)
            self.optimizer.step()
            keep = min(EMA, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - keep)
        for worker in self.workers:
            worker.follow(self.weights)
        self.step += 1
        return sum(loss * share for loss, share in zip(losses, portions, strict=True))

    def _batch(self) -> tuple[Any, ...]:
        """Return clean latents, token rows, noise and sigmas of this step."""
        import numpy as np
        import torch
        from glitch_lora.dataset.seeds import derive_seed
        from glitch_lora.demo.scenes import draw, training_scene
        from glitch_lora.host.demo_model import SHIFT

        seed, count = self.arguments.seed, self.arguments.batch
        scenes = [training_scene(derive_seed(seed, "scene", self.step, index)) for index in range(count)]
        source = random.Random(derive_seed(seed, "words", self.step))
        tokens = torch.tensor([self.words.row(scene.caption, source) for scene in scenes])
        pixels = torch.from_numpy(np.stack([draw(scene) for scene in scenes])).movedim(-1, 1).to(self.device)
        x0 = self.autoencoder.encode(pixels.float() / 127.5 - 1)
        generator = torch.Generator().manual_seed(derive_seed(seed, "noise", self.step))
        noise = torch.randn(x0.shape, generator=generator).to(self.device)
        # Spread evenly over the schedule that ComfyUI samples with, one draw in each of `count` equal parts.
        time_ = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        sigma = (SHIFT * time_ / (1 + (SHIFT - 1) * time_)).clamp(min=1e-3).to(self.device)
        return x0, tokens.to(self.device), noise, sigma

    def _log(self, loss: float, seconds: float) -> None:
        path = self.arguments.work / "loss.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", newline="") as file:
            csv.writer(file).writerow([self.step, f"{loss:.5f}", f"{seconds:.3f}"])
        left = (self.arguments.steps - self.step) * seconds / 60
        print(f"step {self.step}: loss {loss:.4f}, {seconds:.2f} s a step, {left:.0f} min left", flush=True)

    def _forget_rows(self) -> None:
        """Drop the rows of steps that an interruption undid."""
        path = self.arguments.work / "loss.csv"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        path.write_text("".join(line for line in lines if int(line.split(",")[0]) <= self.step))

    def _state_file(self) -> Path:
        return self.arguments.work / "state.safetensors"

    def _save(self) -> None:
        from glitch_lora.training.atomic import write_file
        from safetensors.torch import save_file

        tensors = {f"weights/{name}": value.detach() for name, value in self.weights.items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        for name, value in self.weights.items():
            for part, tensor in self.optimizer.state[value].items():
                tensors[f"adam/{part}/{name}"] = tensor
        notes = {"step": str(self.step), "arguments": json.dumps(self._identity())}
        tensors = {name: value.contiguous() for name, value in tensors.items()}
        size = sum(value.nbytes for value in tensors.values())
        write_file(self._state_file(), lambda path: save_file(tensors, path, notes), size)

    def _load(self) -> None:
        from safetensors import safe_open

        if not self._state_file().exists():
            return
        with safe_open(self._state_file(), "pt", device=str(self.device)) as file:
            notes = file.metadata()
            if json.loads(notes["arguments"]) != self._identity():
                raise SystemExit(
                    f"{self._state_file()}: was made with {notes['arguments']}, got {json.dumps(self._identity())}: "
                    "use the same arguments to go on, or another --work to start anew"
                )
            self.step = int(notes["step"])
            for name, value in self.weights.items():
                value.data.copy_(file.get_tensor(f"weights/{name}"))
                self.average[name].copy_(file.get_tensor(f"average/{name}"))
                parts = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"adam/{key}/{name}" in file.keys()]
                self.optimizer.state[value] = {key: file.get_tensor(f"adam/{key}/{name}") for key in parts}
        for worker in self.workers:
            worker.follow(self.weights)
        self._forget_rows()
        print(f"goes on from step {self.step}")

    def _identity(self) -> dict[str, Any]:
        return {name: getattr(self.arguments, name) for name in ("batch", "learning_rate", "seed")}


class Worker:
    """A copy of the networks that computes the gradients of its share of a batch, the UNet in bf16.

    On a CPU each core has one: two whole backward passes side by side wait for each other once a step, the threads of
    one pass at every layer.
    """

    def __init__(self, text: Any, unet: Any) -> None:
        import torch

        self.text, self.unet = copy.deepcopy(text), copy.deepcopy(unet).to(torch.bfloat16).train()
        self.unet.dtype = torch.bfloat16
        self.weights = _named(self.text, self.unet)

    def follow(self, weights: dict[str, Any]) -> None:
        """Take over the optimizer's weights and forget the gradients."""
        import torch

        with torch.no_grad():
            torch._foreach_copy_(list(self.weights.values()), list(weights.values()))
        for value in self.weights.values():
            value.grad = None

    def backward(self, batch: tuple[Any, ...]) -> float:
        """Leave the gradients of a batch in the weights; return its loss."""
        import torch
        from glitch_lora.host.blocks import OutOfPlace
        from glitch_lora.host.demo_model import TIMESTEPS

        x0, tokens, noise, sigma = batch
        with OutOfPlace():  # ComfyUI's text encoder adds its residuals in place
            context = self.text.text_model(tokens)[0].to(torch.bfloat16)
        x_t = torch.lerp(x0, noise, sigma.view(-1, 1, 1, 1))
        options = {} if x0.is_cuda else {"optimized_attention_override": _attention}
        velocity = self.unet(x_t, sigma * TIMESTEPS, context=context, transformer_options=options)
        error = (velocity - (noise - x0)).square().mean((1, 2, 3))
        loss = (error * (MOST_WEIGHT * sigma**2).clamp(max=1.0)).mean()
        loss.backward()
        return loss.item()


def _named(text: Any, unet: Any) -> dict[str, Any]:
    """Return the weights by the names they have in the file."""
    named = {f"clip.{name}": value for name, value in text.named_parameters()}
    return named | {f"unet.{name}": value for name, value in unet.named_parameters()}


def _initialise(text: Any, unet: Any, seed: int) -> None:
    """Set every weight: torch's own rules (ComfyUI's layers leave them unset), residual branches small or 0 at first.

    Words start far apart and pass the text encoder nearly as they are, and TEXT_RATE keeps it so for a while. With
    CLIP's own initial values (words 0.02, the branches large against them) every caption encodes to almost the same,
    and a short training hardly gets away from that.
    """
    import torch
    from torch import nn

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for module in [*text.modules(), *unet.modules()]:
            for kind in (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm):
                if isinstance(module, kind):
                    kind.reset_parameters(module)
        embeddings = text.text_model.embeddings
        embeddings.token_embedding.weight.normal_(std=1.0)
        embeddings.position_embedding.weight.normal_(std=0.3)
        for name, module in text.named_modules():
            if name.endswith(("out_proj", "fc2")):
                module.weight.mul_(0.2)
                module.bias.zero_()
        for name, module in unet.named_modules():
            if name.endswith(("out_layers.3", "proj_out")) or name == "out.2":
                module.weight.zero_()
                module.bias.zero_()


def _rate(step: int, steps: int) -> float:
    """Return the factor of the learning rate: warm-up, constant, then a straight line to 0."""
    left = (steps - step) / (steps * ANNEALED)
    return min(1.0, (step + 1) / WARM_UP, left)


def _attention(_original: Any, q: Any, k: Any, v: Any, heads: int, *_args: Any, **_kwargs: Any) -> Any:
    """Attention written out: on a CPU faster, forward and backward, than the fused one at these sizes."""
    batch, count, width = q.shape
    q, k, v = (value.view(batch, -1, heads, width // heads).transpose(1, 2) for value in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * (width // heads) ** -0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).reshape(batch, count, width)


if __name__ == "__main__":
    raise SystemExit(main())
