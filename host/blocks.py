"""Per-instance corrections of a private network: out-of-place residuals, arguments, gradient checkpointing.

All replace `forward` on the instances of one private copy and are taken off again; no class is touched.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

_OUT_OF_PLACE: dict[Any, Callable[..., torch.Tensor]] = {
    torch.Tensor.add_: torch.add,
    torch.Tensor.sub_: torch.sub,
    torch.Tensor.mul_: torch.mul,
    torch.Tensor.div_: torch.div,
}


class OutOfPlace(TorchFunctionMode):
    """While active, ``a += b`` binds a new tensor instead of writing into the old one.

    An in-place residual changes a tensor that autograd saved (plain backward raises) or that a checkpoint
    recomputes from (backward is silently wrong). Python rebinds the left side to what the operator returns, so
    returning a new tensor gives the same values and leaves the saved one alone. torch shows ``a += b`` as ``add_``: a
    bare ``a.add_(b)`` would lose its effect, so blocks that have one cannot run under this (the tests of each family
    compare the forward with the untouched network's).
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _OUT_OF_PLACE.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def out_of_place(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Run these blocks' forwards under `OutOfPlace` until the context ends."""
    with _replaced_forwards(blocks, _under_out_of_place):
        yield


@contextmanager
def given(blocks: Iterable[nn.Module], **arguments: Any) -> Iterator[None]:
    """Let these blocks' forwards take `arguments`, whatever they are called with, until the context ends."""
    with _replaced_forwards(blocks, lambda forward: _with_arguments(forward, arguments)):
        yield


@contextmanager
def checkpointed(blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Recompute each of these blocks in the backward pass until the context ends.

    Without gradients the block runs as it is.
    """
    with _replaced_forwards(blocks, _under_checkpoint):
        yield


@contextmanager
def _replaced_forwards(blocks: Iterable[nn.Module], wrap: Callable[[Any], Any]) -> Iterator[None]:
    replaced: list[tuple[nn.Module, Any]] = []
    try:
        for block in blocks:
            replaced.append((block, block.__dict__.get("forward")))
            block.__dict__["forward"] = wrap(block.forward)
        yield
    finally:
        for block, previous in reversed(replaced):
            if previous is None:
                del block.__dict__["forward"]
            else:
                block.__dict__["forward"] = previous


def _under_out_of_place(forward: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        with OutOfPlace():
            return forward(*args, **kwargs)

    return run


def _with_arguments(forward: Any, arguments: dict[str, Any]) -> Any:
    signature = inspect.signature(forward)

    def run(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.arguments.update(arguments)
        return forward(*bound.args, **bound.kwargs)

    return run


def _under_checkpoint(forward: Any) -> Any:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
