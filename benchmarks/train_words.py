"""What learning a word costs: ``python3 benchmarks/train_words.py [options]``.

Makes the environment like the other scripts (or uses the ComfyUI of COMFYUI_PATH). Needs no model: the text encoders
have their real sizes (SD1.5's CLIP-L; with `--family sdxl` CLIP-G beside it) and seeded random weights.

Compared is the text side of a training, on ComfyUI's own encoders, with what other trainers do on transformers'
CLIPTextModel: the whole token table requires a gradient, AdamW goes over the whole table, and after each step the old
rows are put back. As diffusers' textual_inversion.py does it, without clipping, and as kohya's
train_textual_inversion.py does, clipping the table's gradient too; both with the fused AdamW that we use, which is
faster than their default on the CPU. Same weights, captions, vectors at the start, loss (mean square against seeded
numbers), fp32, rates and threads. Tokenizing is counted on our side only, where it happens in each step.

Before the first step both must encode the captions alike (1e-4), and after the last one they must have learnt the same
vectors (1e-5): AdamW's rows know nothing of each other. A fourth arm multiplies the encoders' matrices and does nothing
else, forward and back to the input: the floor.

Each arm runs in a process of its own and they take turns (`turns.py`), so read the ratios; `--threads 1`, the default,
disturbs others least. Ours holds two copies of the encoders, the graph's and the private one that is trained.
Its memory "while stepping" has both of them. What the text side costs in a whole training step: `text_side.py`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for _folder in ("scripts", "tests", "benchmarks"):
    sys.path.append(str(ROOT / _folder))

from as_package import register_pack  # noqa: E402  (scripts/ is on the path only now)
from turns import ARM, MIB, Result, Turns, Work, compare, compare_apart, import_comfy, turn_arguments  # noqa: E402

OURS, DIFFUSERS, KOHYA, FLOOR = "ours", "whole table", "table, clipped", "products only"
SAME_OUTPUT, SAME_VECTORS = 1e-4, 1e-5
TOKENS = 77
WORD, START = "prtkl", "glitch art"
RATE = 5e-4
CAPTIONS = (
    f"a photograph of a street at night, {WORD}",
    f"{WORD}, a cat on a chair, soft light",
    f"a portrait in the style of {WORD}",
    f"mountains behind a lake, {WORD}, wide angle",
)
# By family: ComfyUI's name of the encoder, its configuration file, the token that pads a caption.
ENCODERS = {
    "sd15": (("clip_l", "sd1_clip_config.json", None),),
    "sdxl": (("clip_l", "sd1_clip_config.json", None), ("clip_g", "clip_config_bigg.json", "!")),
}


@dataclass(frozen=True, kw_only=True)
class WordWork(Work):
    """What one process does. arm: OURS, DIFFUSERS, KOHYA or FLOOR. weights: folder of the encoders' files."""

    family: str
    batch: int
    vectors: int
    weights: str

    @property
    def captions(self) -> tuple[str, ...]:
        """The captions of every step."""
        return CAPTIONS[: self.batch]

    @property
    def files(self) -> dict[str, Path]:
        """The weights by encoder."""
        return {name: Path(self.weights) / f"{name}.safetensors" for name, _, _ in ENCODERS[self.family]}

    def result(self, what: str) -> Path:
        """Where this arm leaves tensors for the comparison."""
        return Path(self.weights) / f"{what}, {self.arm}, {self.batch}.safetensors"


# In the process of one arm


def run_arm(work: WordWork) -> None:
    """Set the arm up and take its turns; reports go to standard output, everything else that is printed does not."""
    import torch

    sys.stdout = sys.stderr
    torch.set_num_threads(work.threads)
    {OURS: _ours, DIFFUSERS: _table, KOHYA: _table, FLOOR: _floor}[work.arm](work, Turns(work))


def _ours(work: WordWork, turns: Turns) -> None:
    import_comfy(work)
    register_pack()
    import comfy.sd
    import torch
    from glitch_lora.host.text_model import private_text
    from glitch_lora.training.recipe import Recipe
    from glitch_lora.training.text_settings import EmbeddingSettings
    from glitch_lora.training.text_side import TextSide

    word = EmbeddingSettings(WORD, num_vectors=work.vectors, init_text=START, learning_rate=RATE)
    recipe = Recipe(steps=work.total, embeddings=(word,), train_network=False)
    kind = comfy.sd.CLIPType.STABLE_DIFFUSION
    with torch.inference_mode():  # as ComfyUI runs every node
        files = [str(path) for path in work.files.values()]
        clip = comfy.sd.load_clip(files, None, kind, {"dtype": torch.float32})
        with torch.inference_mode(False), torch.enable_grad(), private_text(clip) as text:
            side = TextSide(text, recipe, work.captions, {})
            side.load()
            _take_steps(work, side, turns)


def _take_steps(work: WordWork, side: Any, turns: Turns) -> None:
    """Train as the training loop does, with a loss on the encoded captions themselves."""
    import torch

    (part,) = side.parts(work.total)

    def encoded() -> Any:
        return torch.cat([side.encode(caption).cross_attn for caption in work.captions])

    _leave_output(work, encoded)
    turns.start()
    for step in range(work.total):
        part.prepare(step)
        with side.text.training(False):
            _loss(encoded(), step).backward()
        part.clip(0)
        part.set_rate(step)
        part.optimizer.step()
        part.updated()
        turns.step_done()
    optimizer = [value for value in part.state()[0].values()]
    _leave(work, "vectors", side.embeddings.exported()[WORD])
    turns.finish(optimizer=_bytes(optimizer), state=_bytes([*optimizer, *side.state().values()]))


def _table(work: WordWork, turns: Turns) -> None:
    """Train whole token tables, as in diffusers' and kohya's textual inversion."""
    import torch

    encoders = [_Table(work, *which) for which in ENCODERS[work.family]]
    tables = [encoder.table for encoder in encoders]
    optimizer = torch.optim.AdamW(tables, lr=RATE, weight_decay=0.0, fused=True)

    def encoded() -> Any:
        return torch.cat([encoder.encoded() for encoder in encoders], dim=-1)

    _leave_output(work, encoded)
    turns.start()
    for step in range(work.total):
        _loss(encoded(), step).backward()
        if work.arm == KOHYA:
            torch.nn.utils.clip_grad_norm_(tables, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for encoder in encoders:
                encoder.put_back()
        turns.step_done()
    state = [value for entries in optimizer.state.values() for value in entries.values()]
    _leave(work, "vectors", {e.name: e.table.detach()[-work.vectors :] for e in encoders})
    whole = [weight for encoder in encoders for weight in encoder.model.state_dict().values()]
    turns.finish(optimizer=_bytes(state), state=_bytes([*state, *whole]))


class _Table:
    """A transformers text encoder whose token table has rows for a new word."""

    def __init__(self, work: WordWork, name: str, config: str, pad: str | None) -> None:
        import torch
        from transformers import CLIPTokenizer

        self.name = name
        self._penultimate = work.family == "sdxl"
        device = "cuda" if work.device != "cpu" and torch.cuda.is_available() else "cpu"
        self.model = _loaded(config, work.files[name]).to(device)
        names = [WORD, *(f"{WORD}_{number}" for number in range(1, work.vectors))]
        tokenizer = CLIPTokenizer.from_pretrained(_comfy() / "sd1_tokenizer")
        start = tokenizer(START, add_special_tokens=False)["input_ids"]
        tokenizer.add_tokens(names)
        if pad:
            tokenizer.pad_token = pad
        self.model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        captions = [caption.replace(WORD, " ".join(names)) for caption in work.captions]
        padded = tokenizer(captions, padding="max_length", max_length=TOKENS, return_tensors="pt")
        self._ids = padded["input_ids"].to(device)
        self.table = self.model.get_input_embeddings().weight
        with torch.no_grad():
            for row in range(work.vectors):
                self.table[row - work.vectors] = self.table[start[row % len(start)]]
        self._before = self.table.detach().clone()
        self._old = torch.ones(len(tokenizer), dtype=torch.bool, device=device)
        self._old[-work.vectors :] = False
        self.model.requires_grad_(False)
        self.table.requires_grad_(True)

    def encoded(self) -> Any:
        """Return the captions' conditioning, [B, 77, width]."""
        if self._penultimate:
            return self.model(self._ids, output_hidden_states=True).hidden_states[-2]
        return self.model(self._ids)[0]

    def put_back(self) -> None:
        """Give the old rows their old values."""
        self.table[self._old] = self._before[self._old]


def _floor(work: WordWork, turns: Turns) -> None:
    """Multiply the encoders' matrices, forward and back to the input, and nothing else."""
    import torch

    device = "cuda" if work.device != "cpu" and torch.cuda.is_available() else "cpu"
    layers = []
    for name, config, _ in ENCODERS[work.family]:
        weights = _loaded(config, work.files[name]).state_dict()
        layers += [weight.to(device) for key, weight in weights.items() if "layers." in key and weight.ndim == 2]
    rows = {weight.shape: torch.randn(TOKENS * work.batch, weight.shape[1], device=device) for weight in layers}
    back = {weight.shape: torch.randn(TOKENS * work.batch, weight.shape[0], device=device) for weight in layers}
    turns.start()
    for _ in range(work.total):
        for weight in layers:
            rows[weight.shape] @ weight.T
        for weight in reversed(layers):
            back[weight.shape] @ weight
        turns.step_done()
    turns.finish(products=4 * TOKENS * work.batch * sum(weight.numel() for weight in layers))


def _comfy() -> Path:
    return Path(os.environ["COMFYUI_PATH"]) / "comfy"


def _configured(config: str) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    settings = json.loads((_comfy() / config).read_text())
    return CLIPTextModel(CLIPTextConfig(**{key: value for key, value in settings.items() if key != "torch_dtype"}))


def _loaded(config: str, weights: Path) -> Any:
    from safetensors.torch import load_file

    model = _configured(config)
    values = load_file(weights)
    model.load_state_dict({key: values[_file_key(key)] for key in model.state_dict()})
    return model.eval()


def _file_key(key: str) -> str:
    """Return a parameter's name in a file; not every version of transformers calls it so itself."""
    return "text_model." + key.removeprefix("text_model.")


def write_weights(folder: Path, family: str) -> None:
    """Write seeded random weights of the family's encoders, fp32, one file each."""
    import torch
    from random_checkpoint import random_weights
    from safetensors.torch import save_file

    for seed, (name, config, _) in enumerate(ENCODERS[family]):
        with torch.device("meta"):
            shapes = _configured(config)
        weights = {_file_key(key): value for key, value in random_weights(shapes, seed).items()}
        width = shapes.config.hidden_size
        weights["text_projection.weight"] = torch.eye(width)  # of the pooled output, which the loss does not see
        save_file(weights, folder / f"{name}.safetensors")


def _loss(output: Any, step: int) -> Any:
    """Return how far the conditioning is from numbers that each step draws anew, so that gradients keep turning."""
    import torch

    target = torch.randn(output.shape, generator=torch.Generator().manual_seed(step))
    return torch.nn.functional.mse_loss(output, target.to(output.device))


def _leave_output(work: WordWork, encoded: Callable[[], Any]) -> None:
    import torch

    with torch.no_grad():
        _leave(work, "output", {"captions": encoded()})


def _leave(work: WordWork, what: str, tensors: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, work.result(what))


def _bytes(tensors: list[Any]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


# In the process that compares


def difference(works: list[WordWork], what: str, environment: Any) -> float:
    """Return the largest difference between what the first arm left and what the second did."""
    command = (
        "import sys; from safetensors.torch import load_file; a, b = map(load_file, sys.argv[1:]); "
        "print(max(float((a[name] - b[name]).abs().max()) for name in {*a} | {*b}))"
    )
    files = [str(work.result(what)) for work in works[:2]]
    told = subprocess.run(
        [str(environment.python), "-c", command, *files],
        env=environment.variables(),
        check=True,
        stdout=subprocess.PIPE,
    )
    return float(told.stdout)


def report(results: list[Result], vectors: float) -> bool:
    """Print the table of one batch size; return whether both learnt the same."""
    ours, *others = results
    for result in results:
        steps = result.all_seconds
        print(
            f"  {result.work.arm:14} {result.typical:7.3f} s/step ({min(steps):.3f} to {max(steps):.3f})"
            f"  {result.stepping / MIB:5.0f} MiB while stepping, steps add {result.growth / MIB:4.0f} MiB"
            + _kept(result)
        )
    for other in others:
        times, processor = ours.times(other), ours.processor_times(other)
        print(
            f"    ours against {other.work.arm}: time {median(times):.2f}x ({min(times):.2f} to {max(times):.2f} by "
            f"round), processor time {median(processor):.2f}x" + _sizes(ours, other)
        )
    products = others[-1].told["products"]
    print(
        f"    the floor multiplies {products / 1e9:.1f} GFLOP a step, {products / others[-1].typical / 1e9:.0f} GFLOP/s"
    )
    same = vectors <= SAME_VECTORS
    print(f"    the same vectors after {ours.work.total} steps: {vectors:.1e}, bar {SAME_VECTORS:.0e}: {_holds(same)}")
    return same


def _kept(result: Result) -> str:
    if "state" not in result.told:
        return ""
    return f", optimizer {_size(result.told['optimizer'])}, saved state {_size(result.told['state'])}"


def _sizes(ours: Result, other: Result) -> str:
    if "state" not in other.told:
        return ""
    factors = [f"{what} 1/{other.told[what] / ours.told[what]:.0f}" for what in ("optimizer", "state")]
    return f", {', '.join(factors)}, what steps add {ours.growth / other.growth:.2f}x"


def _size(count: int) -> str:
    return f"{count / MIB:.0f} MiB" if count > MIB else f"{count / 1024:.0f} KiB"


def _holds(holds: bool) -> str:
    return "holds" if holds else "MISSED"


def main() -> int:
    """Measure what the command line asks for; return 0 when both sides encode and learn the same."""
    from environment import prepare

    chosen = _arguments()
    environment = prepare()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(environment.python), str(Path(__file__).resolve()), "--weights", folder, chosen.family]
        subprocess.run(command, env=environment.variables(), check=True, stderr=subprocess.DEVNULL)
        held = [_measure(chosen, batch, folder, environment) for batch in chosen.batch]
    return 0 if all(held) else 1


def _measure(chosen: argparse.Namespace, batch: int, folder: str, environment: Any) -> bool:
    named = {name: getattr(chosen, name) for name in ("family", "vectors", "threads", "device", "steps")}
    works = [
        WordWork(arm=arm, batch=batch, weights=folder, blocks=chosen.rounds, warm_up=1, **named)
        for arm in (OURS, DIFFUSERS, KOHYA, FLOOR)
    ]
    print(
        f"{chosen.family}, batch {batch}, {chosen.vectors} vectors, fp32, threads {chosen.threads}; "
        f"{chosen.rounds} rounds of {chosen.steps} steps"
    )

    def ready(_: Any = None) -> None:
        output = difference(works, "output", environment)
        if output > SAME_OUTPUT:
            raise RuntimeError(f"The captions are encoded differently: {output:.1e}, bar {SAME_OUTPUT:.0e}")
        print(f"  captions encoded alike: {output:.1e}, bar {SAME_OUTPUT:.0e}", flush=True)

    if chosen.apart:
        results = compare_apart(__file__, works, environment)
        ready()
    else:
        results = compare(__file__, works, environment, ready)
    return report(results, difference(works, "vectors", environment))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare the text side of a training with training the token table.")
    parser.add_argument("--family", choices=list(ENCODERS), default="sd15")
    parser.add_argument("--batch", type=int, nargs="+", choices=range(1, len(CAPTIONS) + 1), default=[1])
    parser.add_argument("--vectors", type=int, choices=range(1, 8), default=2, help="of the word")
    return turn_arguments(parser, steps=1, threads=1)


if __name__ == "__main__":
    if sys.argv[1:2] == [ARM]:
        run_arm(WordWork(**json.loads(sys.argv[2])))
    elif sys.argv[1:2] == ["--weights"]:
        write_weights(Path(sys.argv[2]), sys.argv[3])
    else:
        sys.exit(main())
