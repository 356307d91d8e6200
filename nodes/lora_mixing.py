"""Nodes that make one LoRA of several, or fit one to another model, in the menu folder Glitch LoRA/weights."""

from typing import Any, get_args

from comfy_api.latest import io

from ..glitch.loras.blending import Method, blend_loras, extrapolate_loras
from ..glitch.loras.transplant import Fit, Target, transplant_lora
from ..host.choices import require_choice
from ..host.progress import check_interrupt
from .inputs import combo
from .weights import CATEGORY, ONLY_BLOCKS

_EXTRAPOLATE = "extrapolate"
_METHODS = (*get_args(Method), _EXTRAPOLATE)


class GlitchTransplantLora(io.ComfyNode):
    """Fits a LoRA to a model it was not made for."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchTransplantLora",
            display_name="Transplant LoRA",
            category=CATEGORY,
            description="Puts a LoRA of one model family on another (SD1.5, SDXL, FLUX...): each layer finds its "
            "nearest counterpart by what it does and how deep it sits, and is cut or stretched to fit. The report says "
            "how many layers found a place. What comes out is a LoRA for that model, and a strange one.",
            search_aliases=[
                "convert lora",
                "wrong model",
                "cross model lora",
                "sdxl to flux",
                "resize lora",
                "mismatch",
            ],
            inputs=[
                io.LoraModel.Input("lora", tooltip="The LoRA: Load LoRA Weights, or a LORA_MODEL of another pack."),
                io.Model.Input("model", tooltip="The model it shall fit. Only names and shapes are looked at."),
                io.Clip.Input(
                    "clip", optional=True, tooltip="Its text encoder, for LoRAs that change one; else they lose that."
                ),
                combo(
                    "fit",
                    [*get_args(Fit)],
                    "How channels are made to fit. exact only: nothing is forced, what has no layer of its name and "
                    "shape is dropped.",
                    default="interpolate",
                ),
                io.Boolean.Input(
                    "keep_norm", default=True, tooltip="Layers that were made to fit keep their overall strength."
                ),
            ],
            outputs=[
                io.LoraModel.Output("lora", display_name="lora", tooltip="The LoRA, for that model only."),
                io.String.Output(
                    "report", display_name="report", tooltip="How many layers found a place, and why not."
                ),
            ],
        )

    @classmethod
    def execute(cls, lora: dict[str, Any], model: Any, fit: Fit, keep_norm: bool, clip: Any = None) -> io.NodeOutput:
        """Return the fitted LoRA and how much of it was applied."""
        from ..host.lora_targets import lora_targets

        target = Target(*lora_targets(model, clip))
        fitted = transplant_lora(lora, target, fit=fit, keep_norm=keep_norm, check=check_interrupt)
        return io.NodeOutput(fitted.tensors, fitted.report)


class GlitchBlendLoras(io.ComfyNode):
    """Makes one LoRA of two to four."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        others = [
            io.LoraModel.Input(f"lora_{letter}", optional=True, tooltip="One more LoRA of the same model family.")
            for letter in "cd"
        ]
        return io.Schema(
            node_id="GlitchBlendLoras",
            display_name="Blend LoRAs",
            category=CATEGORY,
            description="Makes one LoRA of two to four: their weighted sum, a line through two and beyond, only what "
            "they disagree about, or the inputs of one with the outputs of another. Exact: ranks are added up.",
            search_aliases=["merge lora", "lora arithmetic", "ties", "extrapolate", "orthogonal", "combine", "graft"],
            inputs=[
                io.LoraModel.Input("lora_a", tooltip="The first LoRA."),
                io.LoraModel.Input("lora_b", tooltip="The second LoRA, of the same model family."),
                *others,
                io.DynamicCombo.Input("method", options=_method_options(), tooltip="What becomes of them."),
                io.Int.Input(
                    "rank",
                    default=0,
                    min=0,
                    max=4096,
                    tooltip="Cut each layer down to its best approximation of this rank. 0 keeps everything.",
                ),
                io.String.Input("only_blocks", default="", tooltip=f"{ONLY_BLOCKS} The others are lora_a's."),
            ],
            outputs=[
                io.LoraModel.Output("lora", display_name="lora", tooltip="The blend."),
                io.String.Output("report", display_name="report", tooltip="Layers shared, and the change from lora_a."),
            ],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        lora_a: dict[str, Any],
        lora_b: dict[str, Any],
        rank: int,
        only_blocks: str,
        method: dict[str, Any] | None = None,
        lora_c: dict[str, Any] | None = None,
        lora_d: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """Return the blend and what was blended."""
        chosen = require_choice(method, "method", _METHODS, cls.hidden.prompt)
        common: dict[str, Any] = {"rank": rank, "only_blocks": only_blocks, "check": check_interrupt}
        if chosen["method"] == _EXTRAPOLATE:
            blend = extrapolate_loras(lora_a, lora_b, chosen["t"], **common)
            return io.NodeOutput(blend.tensors, f"t = {chosen['t']:g}. {blend.report}")
        given = {"a": lora_a, "b": lora_b, "c": lora_c, "d": lora_d}
        letters = [letter for letter, lora in given.items() if lora is not None]
        weights = [chosen.get(f"weight_{letter}", 1.0) for letter in letters]
        loras = [lora for lora in given.values() if lora is not None]
        blend = blend_loras(loras, weights, method=chosen["method"], **common)
        return io.NodeOutput(blend.tensors, blend.report)


def _method_options() -> list[io.DynamicCombo.Option]:
    t = io.Float.Input(
        "t",
        default=1.5,
        min=-2.0,
        max=3.0,
        step=0.05,
        tooltip="0 is lora_a, 1 lora_b, 0.5 half way; beyond 1 or below 0 the line goes on. lora_c and lora_d are not "
        "used.",
    )
    return [
        io.DynamicCombo.Option(method, [t] if method == _EXTRAPOLATE else [_weight(letter) for letter in "abcd"])
        for method in _METHODS
    ]


def _weight(letter: str) -> io.Float.Input:
    return io.Float.Input(
        f"weight_{letter}",
        default=1.0,
        min=-4.0,
        max=4.0,
        step=0.05,
        tooltip=f"What lora_{letter} is multiplied by; below 0 turns it around. Ignored when it is not connected.",
    )


NODES: list[type[io.ComfyNode]] = [GlitchTransplantLora, GlitchBlendLoras]
