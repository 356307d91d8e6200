"""Build the shipped workflows in ComfyUI's own front end: ``python3 scripts/workflow.py [NAME ...]``.

Run it after an input of a node was added or changed. It needs Chromium (GLITCH_CHROMIUM names another place).
The front end itself creates the nodes, so the order of the values in the file is right by construction.
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer
from plan_bench import BENCH
from plan_demo import DEMO
from plan_diary import DIARY
from plan_tags import TAGS
from plan_train import TRAIN
from plans import Plan
from rerun import again_in_environment, in_environment

PLANS = {plan.name: plan for plan in (DEMO, TRAIN, BENCH, TAGS, DIARY)}
GAP, TITLE, PADDING = 60, 30, 20

_BUILD = """({nodes, rows, links, gap, title, padding}) => {
  const {graph} = app, made = {}
  graph.clear()
  const create = (name) => {
    const plan = nodes[name], node = LiteGraph.createNode(plan.type)
    if (!node) throw new Error(`${name}: no node ${plan.type}`)
    if (plan.title) node.title = plan.title
    if (plan.models) node.properties.models = plan.models
    if (plan.mode) node.mode = plan.mode
    if (plan.colours) [node.color, node.bgcolor] = plan.colours
    graph.add(node)
    for (const [input, value] of Object.entries(plan.values)) {
      const widget = node.widgets.find(each => each.name === input)
      if (!widget) throw new Error(`${name}: no input ${input}`)
      widget.value = value
      widget.callback?.(value, app.canvas, node)
    }
    node.setSize([plan.width, Math.max(plan.height, node.computeSize()[1])])
    return made[name] = node
  }
  let top = 0
  for (const groups of rows) {
    let left = 0, bottom = top
    for (const [text, colour, columns] of groups) {
      const first = left
      let lowest = top
      for (const column of columns) {
        let y = top + title, width = 0
        for (const name of column) {
          const node = create(name)
          node.pos = [left, y]
          y += node.size[1] + title + padding
          width = Math.max(width, node.size[0])
        }
        lowest = Math.max(lowest, y - title - padding)
        left += width + gap
      }
      const group = new LiteGraph.LGraphGroup(text)
      group.color = colour
      const head = 2 * title + padding
      group._bounding.set([first - padding, top - head + title, left - gap - first + 2 * padding,
        lowest - top + head - title + padding])
      graph.add(group)
      bottom = Math.max(bottom, lowest)
      left += padding
    }
    top = bottom + 2 * title + 3 * padding + title
  }
  for (const [from, output, to, input] of links) {
    const source = made[from], target = made[to]
    const slots = [source.findOutputSlot(output), target.findInputSlot(input)]
    if (slots.includes(-1)) throw new Error(`no link ${from}.${output} to ${to}.${input}`)
    source.connect(slots[0], target, slots[1])
  }
}"""


def main() -> int:
    """Write the named workflows, all without a name; 0 when it went well."""
    unknown = [name for name in sys.argv[1:] if name not in PLANS]
    if unknown:
        print(f"NAME: got {unknown}, allowed {list(PLANS)}, correct it", file=sys.stderr)
        return 2
    if not in_environment():
        return again_in_environment(__file__)
    plans = [PLANS[name] for name in sys.argv[1:] or PLANS]
    for plan, workflow in zip(plans, build(Path(os.environ["COMFYUI_PATH"]), plans), strict=True):
        _write(plan.path, workflow)
        print(plan.path)
    return 0


def build(comfyui: Path, plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Return the workflows in UI form, as a front end of its own saves them."""
    from canvas import canvas, require_chromium

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for plan in plans:
            lay_out_names(base, plan)
        with (
            ComfyServer(comfyui, sys.executable, base) as server,
            canvas(server, require_chromium()) as page,
        ):
            return [_built(page, plan) for plan in plans]


def _built(page: Any, plan: Plan) -> dict[str, Any]:
    from canvas import reopen

    reopen(page)
    sizes = {"gap": GAP, "title": TITLE, "padding": PADDING}
    page.evaluate(_BUILD, {"nodes": plan.nodes, "rows": plan.rows, "links": plan.links, **sizes})
    page.wait_for_timeout(500)
    return _without_session(page.evaluate("() => app.graph.serialize()"))


def lay_out_names(base: Path, plan: Plan) -> None:
    """Put empty files of the names that the workflow chooses where the front end lists them."""
    for name in plan.files:
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _without_session(workflow: dict[str, Any]) -> dict[str, Any]:
    """Return the workflow without what differs from one session to the next."""
    workflow.pop("id", None)
    workflow.pop("revision", None)
    extra = workflow.get("extra", {})
    return workflow | {"extra": {name: extra[name] for name in ("linkExtensions",) if name in extra}}


def _write(path: Path, workflow: dict[str, Any]) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(workflow, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


if __name__ == "__main__":
    sys.exit(main())
