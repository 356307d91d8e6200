"""Where in a network a LoRA's layer sits, read from its name: part, block and role."""

import re
from dataclasses import dataclass
from typing import Literal

Part = Literal["input", "middle", "output", "text", "other"]
Kind = Literal["attention", "feed-forward", "convolution", "other"]

# (pattern on the name with "_" for ".", part); the first that is found counts.
_PARTS: tuple[tuple[str, Part], ...] = (
    (r"^(?:lora_te|text_encoder)", "text"),
    (r"(?:down_blocks|input_blocks|double_blocks)_(\d+)(?:_(?:attentions|resnets|downsamplers)_(\d+))?", "input"),
    (r"(?:mid_block|middle_block)(?:_(?:attentions|resnets))?_?(\d+)?", "middle"),
    (r"(?:up_blocks|output_blocks|single_blocks|single_transformer_blocks)_(\d+)"
     r"(?:_(?:attentions|resnets|upsamplers)_(\d+))?", "output"),
    (r"^(?:lora_transformer_|transformer_|diffusion_model_|lora_unet_)*"
     r"(?:transformer_blocks|joint_blocks|blocks|layers)_(\d+)", "input"),
)  # fmt: skip
_ATTENTION = re.compile(r"attn|attention_|_to_(?:q|k|v|out)|single_blocks_\d+_linear[12]")
_FEED_FORWARD = re.compile(r"_ff_|_mlp|feed_forward|_fc[12]")
_CONVOLUTION = re.compile(
    r"conv|_in_layers_|_out_layers_|skip_connection|downsamplers|upsamplers|_op$|resnets|_emb_layers_|proj_(?:in|out)$"
)


@dataclass(frozen=True)
class Place:
    """part and number of the block: (block, part of the block). kind: what the layer is in it. label: for reports."""

    part: Part
    block: tuple[int, int]
    kind: Kind

    @property
    def label(self) -> str:
        """Return the block's name in a report, such as ``input 4``."""
        return f"{self.part} {self.block[0]}" if self.part in ("input", "output") else self.part


def plain(name: str) -> str:
    """Return a layer's name without the prefix that differs between programs, and with "_" for "."."""
    name = name.replace(".", "_")
    return re.sub(r"^(?:lora_unet_|lycoris_|lora_transformer_|diffusion_model_|transformer_|unet_)", "", name)


def place(name: str) -> Place:
    """Return where the layer of that name sits, whoever wrote the file; "other" where the name does not tell."""
    flat = name.replace(".", "_")
    for pattern, part in _PARTS:
        if found := re.search(pattern, flat):
            numbers = [int(number) for number in found.groups() if number]
            return Place(part, (*numbers, 0, 0)[:2], kind(flat))  # type: ignore[arg-type]
    return Place("other", (0, 0), kind(flat))


def kind(name: str) -> Kind:
    """Return what a layer does."""
    flat = name.replace(".", "_")
    if _ATTENTION.search(flat):
        return "attention"
    if _FEED_FORWARD.search(flat):
        return "feed-forward"
    return "convolution" if _CONVOLUTION.search(flat) else "other"


def chosen(name: str, pattern: str, setting: str = "only_blocks") -> bool:
    """Say whether a pattern names the layer: a regular expression found in its name or block, "" for all of them.

    Spaces and line ends around it do not count. Raises ValueError, with the name of the setting that the pattern came
    from, when it is no regular expression.
    """
    try:
        wanted = re.compile(pattern.strip(), re.IGNORECASE)
    except re.error as error:
        allowed = "allowed a regular expression such as attn2 or input 4|middle, correct it"
        raise ValueError(f"{setting}: got {pattern!r} ({error}), {allowed}") from error
    where = place(name)
    return any(wanted.search(text) for text in (name, where.label, where.kind))
