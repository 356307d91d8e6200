"""The blueprint of a preset that bends trained weights: a chain of Bend LoRA on one dial."""

from typing import Any

from subgraph import INSIDE, OUTSIDE, Subgraph, dial, node, socket

_DIAL = 1
_LORA, _MODEL, _REPORT = "LORA_MODEL", "MODEL", "STRING"
_WIDGETS = {bool: "BOOLEAN", int: "INT", float: "FLOAT", str: "STRING"}
_STEP = 340


class _Chain:
    """Nodes set down one behind the other, each fed with the LoRA of the one before."""

    def __init__(self) -> None:
        self.nodes = [dial(_DIAL, (-280, -180))]
        self.links: list[tuple[int, int, int, int, str]] = []
        self.results: list[tuple[str, str]] = []
        self.reports: list[int] = []
        self.lora = INSIDE

    def put(self, kind: str, inputs: list[dict[str, Any]], values: list[Any], *outputs: tuple[str, str]) -> int:
        """Set down a node that takes the LoRA; return its number."""
        number = len(self.nodes) + 1
        self.nodes.append(node(number, kind, ((number - 2) * _STEP + 60, 40), inputs, outputs, values))
        self.wire(self.lora, 0, number, "lora")
        return number

    def bent(self, kind: str, inputs: list[dict[str, Any]], values: list[Any]) -> int:
        """Set down a node that gives a LoRA, for the next one, and a report; return its number."""
        self.lora = self.put(kind, inputs, values, ("lora", _LORA), ("report", _REPORT))
        self.reports.append(self.lora)
        return self.lora

    def wire(self, source: int, slot: int, target: int, name: str) -> None:
        """Connect an output with the input of that name."""
        inputs = self.nodes[target - 1]["inputs"]
        place = next(number for number, each in enumerate(inputs) if each["name"] == name)
        self.links.append((source, slot, target, place, inputs[place]["type"]))

    def show(self, name: str, source: int, slot: int, kind: str) -> None:
        """Make an output one of the whole."""
        self.links.append((source, slot, OUTSIDE, len(self.results), kind))
        self.results.append((name, kind))


def weight_blueprint(preset: Any) -> Subgraph:
    """Return the subgraph from LORA_MODEL to LORA_MODEL, of a preset that fits it to a model also to that MODEL."""
    chain, dials = _Chain(), [(_DIAL, "value")]
    if preset.fit:
        chain.wire(INSIDE, 1, chain.bent("GlitchTransplantLora", _TRANSPLANT, [preset.fit, True]), "model")
    for bend in preset.bends:
        number = chain.bent("GlitchBendLora", *_bend(bend))
        if not bend.steady:
            chain.wire(_DIAL, 0, number, "severity")
        if _operation(bend).draws:
            dials.append((number, "seed"))
    chain.show("lora", chain.lora, 0, _LORA)
    if preset.fit:
        loader = chain.put("LoraModelLoader", _LOADER, [1.0, False], ("model", _MODEL))
        chain.wire(INSIDE, 1, loader, "model")
        chain.wire(_DIAL, 0, loader, "strength_model")
        chain.show("model", loader, 0, _MODEL)
    for count, number in enumerate(chain.reports, 1):
        chain.show(f"report {count}", number, 1, _REPORT)
    sockets = [("lora", _LORA), *([("model", _MODEL)] if preset.fit else [])]
    about = f"{preset.why} As by hand: {preset.weights}"
    return Subgraph(preset.name, preset.title, about, sockets, chain.results, chain.nodes, chain.links, dials)


_TRANSPLANT = [
    socket("lora", _LORA),
    socket("model", _MODEL),
    socket("clip", "CLIP") | {"shape": 7},
    socket("fit", "COMBO", widget=True),
    socket("keep_norm", "BOOLEAN", widget=True),
]
_LOADER = [
    socket("model", _MODEL),
    socket("lora", _LORA),
    socket("strength_model", "FLOAT", widget=True),
    socket("bypass", "BOOLEAN", widget=True),
]


def _bend(bend: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """Return the inputs of a Bend LoRA and the values of its widgets."""
    values = _operation(bend).checked(bend.parameters)
    choices = {each.name for each in _operation(bend).parameters if each.choices}
    inputs = [
        socket("lora", _LORA),
        socket("operation", "COMFY_DYNAMICCOMBO_V3", widget=True),
        *(
            socket(f"operation.{name}", "COMBO" if name in choices else _WIDGETS[type(value)], widget=True)
            for name, value in values.items()
        ),
        socket("severity", "FLOAT", widget=True),
        socket("norm_match", "BOOLEAN", widget=True),
        socket("only_blocks", "STRING", widget=True),
        socket("seed", "INT", widget=True),
    ]
    return inputs, [bend.operation, *values.values(), 1.0, bend.norm_match, bend.only_blocks, 0, "fixed"]


def _operation(bend: Any) -> Any:
    from glitch_lora.glitch.registry import find_operation

    return find_operation(bend.operation)
