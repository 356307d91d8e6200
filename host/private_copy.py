"""A private copy of what a patcher holds, with ordinary weights of its own: nothing done to it reaches the graph.

Nodes share one model with the whole graph, made under inference mode and possibly living in evictable pages.
"""

import copy
import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

PLAIN_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def private_patcher(patcher: ModelPatcher, name: str) -> ModelPatcher:
    """Return a patcher of a copy of the network, read anew by the loader or, where that cannot, copied in memory.

    name: of the socket, for the message. Raises ValueError when neither can be done.
    """
    if patcher.cached_patcher_init is not None:
        read = patcher.clone(disable_dynamic=True, force_deepcopy=True)
        _forget(read.model)  # where the loader put it on its device at once: its patcher of the copy is gone by now
        return read
    if patcher.is_dynamic():
        raise ValueError(
            f"{name}: got a {type(patcher.model).__name__} whose loader cannot reload it and whose weights live in "
            f"evictable pages, allowed {name.upper()}s of ComfyUI's own loaders, use one of these "
            "or start ComfyUI with --disable-dynamic-vram"
        )
    logging.info(f"Glitch LoRA: this {name.upper()}'s loader cannot reload it, so it is copied in memory.")
    # In place patches come off first: the copy is made of the original weights, then patched and baked like any other.
    comfy.model_management.unload_model_and_clones(patcher)
    return patcher.clone(model_override=(_copied(patcher.model, name), ({}, {}, {}, set())))


def _copied(network: nn.Module, name: str) -> nn.Module:
    # The configuration answers every attribute, __deepcopy__ too, and is never written to: it is shared. The patcher
    # that used the network last is not the copy's.
    shared = {id(part): kept for part, kept in _shared(network) if part is not None}
    try:
        return copy.deepcopy(network, shared)
    except (TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(
            f"{name}: got a {type(network).__name__} that can neither be reloaded nor copied ({error}), "
            f"allowed {name.upper()}s of ComfyUI's own loaders, use one of these"
        ) from error


def _shared(network: Any) -> list[tuple[Any, Any]]:
    config = getattr(network, "model_config", None)
    return [(config, config), (getattr(network, "current_patcher", None), None)]


def bake_patches(patcher: ModelPatcher) -> None:
    """Make the LoRAs and other patches on the copy part of its weights."""
    for key in list(patcher.patches):
        patcher.patch_weight_to_device(key, device_to=patcher.offload_device)
    patcher.patches = {}
    patcher.backup.clear()
    patcher.patches_uuid = uuid.uuid4()


def strip_hooks(patcher: ModelPatcher) -> None:
    """Take off what belongs to the graph's sampling and not to what is trained: wrappers, injections, hooks."""
    patcher.weight_wrapper_patches = {}
    for registered in (patcher.wrappers, patcher.injections, patcher.hook_patches, patcher.callbacks):
        for key in list(registered):
            registered[key] = type(registered[key])()
    patcher.forced_hooks = None


def own_weights(network: nn.Module, dtype: torch.dtype | None) -> None:
    """Make every weight an ordinary frozen tensor, one at a time; in `dtype`, if given, unless it is quantised."""
    network.requires_grad_(False)
    for module in network.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(_owned(weight.data, dtype), requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, _owned(buffer, None), name not in module._non_persistent_buffers_set)


def _owned(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.dtype in PLAIN_DTYPES
    if plain and dtype is not None and tensor.dtype != dtype:
        return tensor.to(dtype)
    return tensor.clone() if tensor.is_inference() else tensor


def load(patcher: ModelPatcher, *beside: ModelPatcher) -> None:
    """Put the whole network on the training device, and `beside` with it; does nothing while it is still there."""
    management = comfy.model_management
    if any(entry.model is patcher for entry in management.current_loaded_models):
        if patcher.model.device == patcher.load_device and not patcher.model.model_lowvram:
            return
    management.load_models_gpu([patcher, *beside], force_full_load=True)


def release(patcher: ModelPatcher) -> None:
    """Take the copy out of ComfyUI's list of loaded models and free its memory."""
    _forget(patcher.model)
    patcher.detach(unpatch_all=False)
    patcher.cleanup()
    comfy.model_management.soft_empty_cache()


def _forget(network: nn.Module) -> None:
    """Take a network out of ComfyUI's list of loaded models, whichever patcher it stands there with."""
    loaded = comfy.model_management.current_loaded_models
    for entry in [entry for entry in loaded if entry.real_model is not None and entry.real_model() is network]:
        loaded.remove(entry)
        entry.model_finalizer.detach()


@contextmanager
def in_training() -> Iterator[None]:
    """Let kernels without a backward know, also while a checkpoint recomputes."""
    management = comfy.model_management
    before = management.in_training
    management.in_training = True
    try:
        yield
    finally:
        management.in_training = before
