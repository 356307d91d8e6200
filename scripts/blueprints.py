"""Write the subgraph blueprints anew: ``python3 scripts/blueprints.py``.

ComfyUI lists them in its node library. There is one for each preset with two sides, a Dataset Preset and a Recipe
Preset on one dial, and one for each that bends trained weights.
"""

import json
import sys
from pathlib import Path
from typing import Any

from subgraph import INSIDE, OUTSIDE, Subgraph, blueprint, dial, node, socket
from weight_blueprints import weight_blueprint

ROOT = Path(__file__).resolve().parent.parent
SUBGRAPHS = ROOT / "subgraphs"
_DIAL, _DATASET, _RECIPE = 1, 2, 3
# (from node, its output, to node, its input, type)
_LINKS = (
    (INSIDE, 0, _DATASET, 0, "GLITCH_DATASET"),
    (INSIDE, 1, _RECIPE, 0, "GLITCH_RECIPE"),
    (_DIAL, 0, _DATASET, 2, "FLOAT"),
    (_DIAL, 0, _RECIPE, 2, "FLOAT"),
    (_DATASET, 0, OUTSIDE, 0, "GLITCH_DATASET"),
    (_RECIPE, 0, OUTSIDE, 1, "GLITCH_RECIPE"),
    (_DATASET, 1, OUTSIDE, 2, "STRING"),
)
_SOCKETS = (("dataset", "GLITCH_DATASET"), ("recipe", "GLITCH_RECIPE"))
_RESULTS = (*_SOCKETS, ("report", "STRING"))


def main() -> int:
    """Write every blueprint and remove those of presets that are gone; return 0."""
    from rerun import again_in_environment, in_environment

    if not in_environment():
        return again_in_environment(str(Path(__file__).resolve()))
    from as_package import register_pack

    register_pack()
    wanted = blueprints()
    for path in SUBGRAPHS.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    SUBGRAPHS.mkdir(exist_ok=True)
    for name, made in wanted.items():
        (SUBGRAPHS / name).write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"subgraphs/{name}")
    return 0


def blueprints() -> dict[str, dict[str, Any]]:
    """Return the blueprints by file name."""
    from glitch_lora.glitch.presets import PRESETS, presets_for

    both = set(presets_for("dataset")) & set(presets_for("recipe"))
    made = [_two_sides(preset) for preset in PRESETS.values() if preset.name in both]
    made += [weight_blueprint(preset) for preset in PRESETS.values() if preset.bends]
    return {f"Glitch LoRA - {each.title}.json": blueprint(each) for each in made}


def _two_sides(preset: Any) -> Subgraph:
    nodes = [dial(_DIAL, (-280, -120)), _dataset(preset), _recipe(preset)]
    dials = ((_DIAL, "value"), (_DATASET, "seed"))
    return Subgraph(preset.name, preset.title, preset.why, _SOCKETS, _RESULTS, nodes, _LINKS, dials)


def _dataset(preset: Any) -> dict[str, Any]:
    inputs = [
        socket("dataset", "GLITCH_DATASET"),
        socket("preset", "COMBO", widget=True),
        socket("intensity", "FLOAT", widget=True),
        socket("seed", "INT", widget=True),
    ]
    outputs = [("dataset", "GLITCH_DATASET"), ("report", "STRING")]
    return node(_DATASET, "GlitchDatasetPreset", (60, -40), inputs, outputs, [preset.name, 1.0, 0, "fixed"])


def _recipe(preset: Any) -> dict[str, Any]:
    inputs = [
        socket("recipe", "GLITCH_RECIPE"),
        socket("preset", "COMBO", widget=True),
        socket("intensity", "FLOAT", widget=True),
    ]
    outputs = [("recipe", "GLITCH_RECIPE"), ("report", "STRING")]
    return node(_RECIPE, "GlitchRecipePreset", (60, 200), inputs, outputs, [preset.name, 1.0])


if __name__ == "__main__":
    sys.exit(main())
