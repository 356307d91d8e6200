"""Bending a model while it samples, in the menu folder Glitch LoRA/glitch."""

from typing import Any, get_args

from comfy_api.latest import io

from ..glitch.activations.features import FeatureBend
from ..glitch.registry import all_operations
from ..host.choices import require_choice
from .inputs import combo, operation_input, seed_input, severity_input

CATEGORY = "Glitch LoRA/glitch"
_SITES = ("block output", "attention", "norm output")
_LAYERS = ("all", "input", "middle", "output", "pattern")


class GlitchBendModel(io.ComfyNode):
    """Bends the features of a running model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchBendModel",
            display_name="Bend Model",
            category=CATEGORY,
            description="Network bending: changes what the layers of a model pass on while it draws. No weight is "
            "changed and nothing is copied; the MODEL that comes in stays as it is. Chain several: all of them act.",
            search_aliases=["network bending", "activation", "feature maps", "attention", "hook", "circuit bending"],
            inputs=[
                io.Model.Input("model", tooltip="A diffusion model, with or without a LoRA on it."),
                operation_input(all_operations("activations")),
                severity_input(),
                io.DynamicCombo.Input("layers", options=_layer_options(), tooltip="Which blocks of the network."),
                io.DynamicCombo.Input("site", options=_site_options(), tooltip="What is bent in each of them."),
                _percent("start_percent", 0.0, "From this part of sampling on. 0.5 spares the composition."),
                _percent("end_percent", 1.0, "Up to this part of sampling. 0.3 leaves textures alone."),
                _percent("fraction", 1.0, "The part of the features that is bent; which ones, the seed draws."),
                seed_input("Of everything that is drawn: features, order, noise."),
            ],
            outputs=[
                io.Model.Output("model", display_name="MODEL", tooltip="The model, bent whenever it samples."),
                io.String.Output("report", display_name="report", tooltip="What is bent where."),
            ],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        severity: float,
        start_percent: float,
        end_percent: float,
        fraction: float,
        seed: int,
        operation: dict[str, Any] | None = None,
        layers: dict[str, Any] | None = None,
        site: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """Return a bent clone of the model and what is bent."""
        from ..host.bending import bend_model
        from ..host.network_blocks import Choice

        names = [known.name for known in all_operations("activations")]
        values = dict(require_choice(operation, "operation", names, cls.hidden.prompt))
        name = values.pop("operation")
        where = require_choice(layers, "layers", _LAYERS, cls.hidden.prompt)
        at = require_choice(site, "site", _SITES, cls.hidden.prompt)
        bend = FeatureBend(name, tuple(values.items()), severity, fraction, seed)
        bent, blocks = bend_model(
            model,
            bend,
            at["site"],
            Choice(**where),
            part=at.get("part", "value"),
            kind=at.get("attention", "both"),
            start_percent=start_percent,
            end_percent=end_percent,
        )
        told = "the model is left as it is" if bend.idle else f"severity {severity:g}, {fraction:.0%} of the features"
        what = f"{name} on {' '.join(at.values())} of {len(blocks)} blocks: {told}."
        window = f"From {start_percent:.0%} to {end_percent:.0%} of sampling, seed {seed}."
        report = f"{what} {window}\n{', '.join(blocks)}"
        return io.NodeOutput(model if bend.idle else bent, report)


def _percent(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, tooltip=tooltip)


def _layer_options() -> list[io.DynamicCombo.Option]:
    numbers = [
        io.Int.Input("first", default=0, min=0, max=999, tooltip="Number of the first block of this part."),
        io.Int.Input("last", default=-1, min=-1, max=999, tooltip="Number of the last one; -1: to the end."),
    ]
    pattern = io.String.Input(
        "pattern",
        default="",
        tooltip="A regular expression over block paths such as input_blocks.4, middle_block or double_blocks.12; the "
        "report lists them.",
    )
    return [io.DynamicCombo.Option(name, _inputs_of(name, numbers, pattern)) for name in _LAYERS]


def _inputs_of(layers: str, numbers: list[Any], pattern: Any) -> list[Any]:
    if layers == "pattern":
        return [pattern]
    return numbers if layers in ("input", "output") else []


def _site_options() -> list[io.DynamicCombo.Option]:
    from ..host.bending import AttentionKind, AttentionPart

    part = combo(
        "part",
        get_args(AttentionPart),
        "value: what places say to each other (shuffle it to shuffle the attention map). query, key: how they find "
        "each other; a gain is 1 / softmax temperature. output: the result.",
    )
    kind = combo(
        "attention",
        get_args(AttentionKind)[::-1],
        "self: between places of the picture. cross: from the picture to the text. In FLUX: the picture's tokens, or "
        "the text's.",
    )
    return [io.DynamicCombo.Option(site, [part, kind] if site == "attention" else []) for site in _SITES]


NODES: list[type[io.ComfyNode]] = [GlitchBendModel]
