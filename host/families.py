"""The model families we train, and what each needs so that its gradients are right.

A family is claimed only with a test that compares plain, checkpointed and finite-difference gradients.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

LayerKind = Literal["attention", "ff", "linear", "conv"]

# Which kinds of layer each choice of `target_modules` adapts.
TARGETS: dict[str, frozenset[LayerKind]] = {
    "attention": frozenset({"attention"}),
    "attention+ff": frozenset({"attention", "ff"}),
    "all-linear": frozenset({"attention", "ff", "linear"}),
    "all-linear+conv": frozenset({"attention", "ff", "linear", "conv"}),
}


@dataclass(frozen=True)
class Family:
    """What the trainer has to know of a family.

    name: "sd15", "sdxl", "flux", "flux-schnell" or "glitch-demo". title: for people.
    attention, ff, left_out: patterns over module paths inside the diffusion model; `left_out` wins.
        Time, size and guidance embeddings are left out: not every tool can read a LoRA of them.
    blocks: class names recomputed one by one under gradient checkpointing.
    in_place_blocks: class names whose residuals are added in place, which autograd cannot live with.
    """

    name: str
    title: str
    attention: str
    ff: str
    left_out: str
    blocks: frozenset[str]
    in_place_blocks: frozenset[str]

    def kind(self, path: str, module: nn.Module) -> LayerKind | None:
        """Return the kind of the layer at `path`, or None where no adapter belongs."""
        if not isinstance(module, nn.Linear | nn.Conv2d) or re.search(self.left_out, path):
            return None
        if re.search(self.attention, path):
            return "attention"
        if re.search(self.ff, path):
            return "ff"
        return "linear" if isinstance(module, nn.Linear) else "conv"

    def layers(self, network: nn.Module, target_modules: str) -> list[str]:
        """Return the paths of the layers that `target_modules` adapts, in module order."""
        kinds = TARGETS[target_modules]
        return [path for path, module in network.named_modules() if self.kind(path, module) in kinds]

    def checkpoint_blocks(self, network: nn.Module) -> Iterator[nn.Module]:
        """Yield the blocks that gradient checkpointing recomputes."""
        return (module for module in network.modules() if type(module).__name__ in self.blocks)

    def in_place(self, network: nn.Module) -> Iterator[nn.Module]:
        """Yield the blocks whose in-place residuals must be taken out of place."""
        return (module for module in network.modules() if type(module).__name__ in self.in_place_blocks)


_UNET: dict[str, Any] = {
    "attention": r"\.attn[12]\.",
    "ff": r"\.ff\.",
    "left_out": r"^(time_embed|label_emb)\.",
    "blocks": frozenset({"ResBlock", "BasicTransformerBlock"}),
    "in_place_blocks": frozenset[str](),
}

SD15 = Family(name="sd15", title="Stable Diffusion 1.5", **_UNET)
SDXL = Family(name="sdxl", title="Stable Diffusion XL", **_UNET)
DEMO = Family(name="glitch-demo", title="Glitch Demo", **_UNET)
FLUX = Family(
    name="flux",
    title="FLUX.1",
    # A single-stream block fuses attention and feed-forward in linear1 and linear2.
    attention=r"_attn\.(qkv|proj)$|^single_blocks\.\d+\.linear[12]$",
    ff=r"_mlp\.\d+$",
    left_out=r"^(time_in|vector_in|guidance_in)\.",
    blocks=frozenset({"DoubleStreamBlock", "SingleStreamBlock"}),
    in_place_blocks=frozenset({"DoubleStreamBlock", "SingleStreamBlock"}),
)

# The class of each model configuration: subclasses and look-alikes are other networks.
_FAMILIES = {
    "SD15": SD15,
    "SDXL": SDXL,
    "Flux": FLUX,
    "FluxSchnell": replace(FLUX, name="flux-schnell"),
    "GlitchDemo": DEMO,
}


def family_of(model: Any) -> Family:
    """Return the family of a ComfyUI MODEL.

    Raises ValueError for a family without a gradient test, and for inpainting variants of a known one.
    """
    config = type(model.model.model_config).__name__
    supported = sorted({family.title for family in _FAMILIES.values()})
    if config not in _FAMILIES:
        raise ValueError(
            f"model: got a {config} model, allowed {', '.join(supported)}, connect a checkpoint of one of these: "
            "other families are refused because their gradients are not proved yet"
        )
    unet = model.model.model_config.unet_config
    channels = unet.get("in_channels"), unet.get("out_channels")
    if model.model.concat_keys or (None not in channels and channels[0] != channels[1]):
        raise ValueError(
            f"model: got a {config} model for inpainting or control pictures ({channels[0]} channels in), allowed "
            f"plain text-to-image models ({', '.join(supported)}), train on the base and use the LoRA on this one"
        )
    return _FAMILIES[config]
