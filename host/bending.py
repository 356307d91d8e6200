"""Bends of a network while it runs: patches on a MODEL that act only inside its own forward passes.

Attention is bent by ComfyUI's attention patches. Outputs of blocks and norms are bent by forward hooks that exist only
while the patched MODEL's network runs and are taken off in any case, so that clones that share the network never see
one another's. All of them are lists on the MODEL: bends compose, and whoever has the MODEL without them has it plain.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .network_blocks import Choice, chosen_blocks

Site = Literal["block output", "norm output", "attention"]
AttentionPart = Literal["value", "query", "key", "output"]
AttentionKind = Literal["self", "cross", "both"]
Bend = Callable[[Tensor, str], Tensor]

_KEY = "glitch_lora.bend"
_SCALES = (1, 2, 4, 8, 16, 32)  # of the grids inside a network, against the latent's
# Norms of queries and keys work on heads, not on features.
_OF_HEADS = re.compile(r"(?:^|[._])(?:(?:query|key|q|k)_norm|(?:norm|ln)_(?:added_)?[qk](?:$|[._]))")


@dataclass(frozen=True)
class _Window:
    """Between which noise levels something acts, both included; sigmas fall while a picture is made."""

    start: float
    end: float

    def holds(self, options: dict[str, Any]) -> bool:
        sigmas = options.get("sigmas")
        always = self.end <= 0 and self.start == math.inf  # asking a graphics card for a number makes it wait
        return sigmas is None or always or self.end <= float(sigmas.max()) <= self.start


@dataclass(frozen=True)
class _Grid:
    """How many places a latent of a size has, for tokens that are places of a picture."""

    height: int
    width: int
    patch: int = 1

    def of(self, count: int) -> tuple[int, int] | None:
        """Return the (height, width) of so many tokens, or None where no scale gives a grid of that many."""
        sizes = [(-(-self.height // scale), -(-self.width // scale)) for scale in (self.patch, *_SCALES)]
        return next((size for size in sizes if size[0] * size[1] == count), None)

    def bent(self, tokens: Tensor, bend: Bend, place: str) -> Tensor:
        """Return tokens [B, T, C] bent as a picture [B, C, h, w] where there is a scale at which T = h * w."""
        size = self.of(tokens.shape[1])
        if size is None:
            return bend(tokens, place)
        return bend(tokens.transpose(1, 2).unflatten(2, size), place).flatten(2).transpose(1, 2)


@dataclass(frozen=True)
class _OutputBend:
    """Wraps the call of the model: hooks on some outputs of its network while it runs."""

    site: Site
    blocks: tuple[str, ...]
    bend: Bend
    window: _Window

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        options = _options(args, kwargs)
        if not self.window.holds(options):
            return executor(*args, **kwargs)
        network = executor.class_obj.diffusion_model
        grid = _grid(args[0].shape, getattr(network, "patch_size", 1))
        handles: list[Any] = []
        try:
            for path, module in self._modules(network):
                handles.append(module.register_forward_hook(_hook(path, self.bend, grid), with_kwargs=True))
            with _uncompiled():
                return executor(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()

    def _modules(self, network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        """Yield what is hooked. ComfyUI calls the parts of a UNet's block one by one: its output is its last part's."""
        for path in self.blocks:
            block = network.get_submodule(path)
            if self.site == "block output":
                yield path, list(block.children())[-1] if isinstance(block, nn.Sequential) else block
                continue
            for name, module in block.named_modules():
                norm = type(module).__name__.endswith("Norm") and not list(module.children())
                if norm and not _OF_HEADS.search(name):
                    yield f"{path}.{name}", module


def _options(args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the transformer options among the arguments of a model or its network."""
    given = (*args, kwargs.get("transformer_options"))
    return next((one for one in given if isinstance(one, dict) and "wrappers" in one), {})


def _show_shape(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """Wrap the call of a model so that its attention can tell the latent's shape, as a UNet does by itself."""
    _options(args, kwargs)["original_shape"] = list(args[0].shape)
    with _uncompiled():
        return executor(*args, **kwargs)


def _uncompiled() -> AbstractContextManager[Any]:
    """Return what keeps networks from running compiled: torch.compile does not see hooks that came after it."""
    able = "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance")  # since PyTorch 2.6
    return torch.compiler.set_stance("force_eager") if able else nullcontext()


def _grid(shape: torch.Size, patch: Any) -> _Grid | None:
    """Return the grid of a latent [B, C, H, W], or [B, C, 1, H, W] as a film of one picture; None for others."""
    side = patch[-1] if isinstance(patch, list | tuple) else patch
    flat = len(shape) == 4 or (len(shape) == 5 and shape[2] == 1)
    return _Grid(shape[-2], shape[-1], side) if flat and isinstance(side, int) else None


def _hook(path: str, bend: Bend, grid: _Grid | None) -> Callable[..., Any]:
    """Return a forward hook that bends a module's output; of several outputs the picture's."""

    def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        if isinstance(output, tuple):
            chosen = _pictures_place(output, grid)
            bent = _bent(output[chosen], bend, path, grid)
            return (*output[:chosen], bent, *output[chosen + 1 :])
        text = _text_tokens(kwargs.get("transformer_options") or {}) if "single_blocks" in path else 0
        bent = _bent(output[:, text:], bend, path, grid) if text else _bent(output, bend, path, grid)
        return torch.cat((output[:, :text], bent), 1) if text else bent

    return hook


def _pictures_place(outputs: Sequence[Any], grid: _Grid | None) -> int:
    """Return which output is the picture's: FLUX gives it first, SD3 and Qwen Image after the text.

    It is the one whose tokens are a grid of the latent. Where none or both are, it is the first.
    """
    tokens = [output.shape[1] if isinstance(output, Tensor) and output.dim() == 3 else 0 for output in outputs]
    fitting = [place for place, count in enumerate(tokens) if grid and count and grid.of(count)]
    return fitting[0] if fitting else 0


def _bent(output: Any, bend: Bend, path: str, grid: _Grid | None) -> Any:
    if not isinstance(output, Tensor) or output.dim() < 3:
        return output
    return grid.bent(output, bend, path) if output.dim() == 3 and grid else bend(output, path)


def _text_tokens(options: dict[str, Any]) -> int:
    """Return how many tokens before the picture's are text, in a block that works on both."""
    return int((options.get("img_slice") or [0])[0])


@dataclass(frozen=True)
class _AttentionBend:
    """An attention patch of ComfyUI, for UNets and for transformers with joint attention."""

    part: AttentionPart
    kind: AttentionKind
    blocks: tuple[str, ...]
    bend: Bend
    window: _Window
    label: str

    def _here(self, options: dict[str, Any]) -> str:
        """Return the place's name, or "" where or when nothing is to be bent."""
        block = options.get("block")
        if block is None:
            path = f"{options.get('block_type')}_blocks.{options.get('block_index')}"
        else:
            path = "middle_block" if block[0] == "middle" else f"{block[0]}_blocks.{block[1]}"
        if path not in self.blocks or not self.window.holds(options):
            return ""
        return f"{path}.{options.get('block_index')} {self.label} {self.part}"


@dataclass(frozen=True)
class _InputsBend(_AttentionBend):
    """Bends query, key or value. A UNet shows what they are made from, [B, T, C]; others the heads, [B, h, T, c]."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: Any = None, **joint: Any) -> Any:
        options = extra_options or {}
        parts = {"query": q, "key": k, "value": v}
        place = self._here(options)
        if place:
            bend_part = self._heads if "pe" in joint else self._tokens
            parts[self.part] = bend_part(parts[self.part], place, options)
        if "pe" in joint:
            return {"q": parts["query"], "k": parts["key"], "v": parts["value"]}
        return parts["query"], parts["key"], parts["value"]

    def _tokens(self, x: Tensor, place: str, options: dict[str, Any]) -> Tensor:
        of_text = self.label == "attn2" and self.part != "query"
        return self.bend(x, place) if of_text else _on_grid(x, self.bend, place, options)

    def _heads(self, x: Tensor, place: str, options: dict[str, Any]) -> Tensor:
        tokens = x.transpose(1, 2)
        bent = _joint(tokens.flatten(2), self.kind, self.bend, place, options)
        return bent.unflatten(2, tokens.shape[2:]).transpose(1, 2)


@dataclass(frozen=True)
class _ResultBend(_AttentionBend):
    """Bends what an attention gives, [B, T, C], before it is added to what went in."""

    def __call__(self, x: Tensor, extra_options: Any) -> Tensor:
        place = self._here(extra_options)
        if not place:
            return x
        if extra_options.get("block") is None:
            return _joint(x, self.kind, self.bend, place, extra_options)
        return _on_grid(x, self.bend, place, extra_options)


def _on_grid(x: Tensor, bend: Bend, place: str, options: dict[str, Any]) -> Tensor:
    shape: list[int] = options.get("original_shape") or []
    return _Grid(shape[2], shape[3]).bent(x, bend, place) if len(shape) == 4 else bend(x, place)


def _joint(x: Tensor, kind: AttentionKind, bend: Bend, place: str, options: dict[str, Any]) -> Tensor:
    """Return tokens of text and picture with those of the picture (self), the text (cross) or all bent."""
    text = _text_tokens(options)
    if kind == "both" or not text:
        return bend(x, place)
    if kind == "cross":
        return torch.cat((bend(x[:, :text], place), x[:, text:]), 1)
    return torch.cat((x[:, :text], _on_grid(x[:, text:], bend, place, options)), 1)


def bend_model(
    model: Any,
    bend: Bend,
    site: Site = "block output",
    choice: Choice | None = None,
    *,
    part: AttentionPart = "value",
    kind: AttentionKind = "both",
    start_percent: float = 0.0,
    end_percent: float = 1.0,
) -> tuple[Any, tuple[str, ...]]:
    """Return a clone of MODEL that is bent while it samples, and the paths of the bent blocks. MODEL stays as it is.

    bend: (activations, place) -> new activations of the same shape; a value whose fields tell what it does, so that
    the MODEL can be told from others. part, kind: of attention; in joint attention self is the picture's tokens, cross
    the text's. start_percent, end_percent: of sampling, 0 to 1. Raises ValueError for blocks and sites it has not.
    """
    from comfy.patcher_extension import WrappersMP

    if not 0 <= start_percent < end_percent <= 1:
        allowed = "allowed 0 to 1 and less than end_percent"
        raise ValueError(f"start_percent: got {start_percent:g} to {end_percent:g}, {allowed}, change it")
    blocks = chosen_blocks(model, choice or Choice())
    sampling = model.get_model_object("model_sampling")
    # From the beginning is from any noise level: some samplers begin above the model's own highest.
    first = float(sampling.percent_to_sigma(start_percent)) if start_percent else math.inf
    window = _Window(first, float(sampling.percent_to_sigma(end_percent)))
    clone = model.clone()
    if site == "attention":
        _add_attention(clone, part, kind, blocks, bend, window)
    else:
        # Not around the network itself: some networks of ComfyUI, SD3's among them, ask for no wrappers.
        clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, _KEY, _OutputBend(site, blocks, bend, window))
    return clone, blocks


def _add_attention(
    clone: Any, part: AttentionPart, kind: AttentionKind, blocks: tuple[str, ...], bend: Bend, window: _Window
) -> None:
    from comfy.patcher_extension import WrappersMP

    network = clone.get_model_object("diffusion_model")
    joint = hasattr(network, "double_blocks")
    if not joint and not hasattr(network, "input_blocks"):
        name = type(network).__name__
        raise ValueError(f"site: got attention of a {name}, allowed for UNets and FLUX, choose block or norm output")
    clone.add_wrapper_with_key(WrappersMP.APPLY_MODEL, _KEY, _show_shape)
    make = _ResultBend if part == "output" else _InputsBend
    words = {"self": ("attn1",), "cross": ("attn2",), "both": ("attn1", "attn2")}[kind] if not joint else ("attn1",)
    for word in words:
        name = f"{word}_output_patch" if part == "output" else f"{word}_patch"
        clone.set_model_patch(make(part, kind, blocks, bend, window, word), name)
