// Inspect Trigger shows its report below its inputs. The front end shows the text of its own nodes only.
import { app } from "../../../scripts/app.js"

const NODES = ["GlitchInspectTrigger"]
const NAME = "report"
const WIDTH = 720
const HEIGHT = 300

function addReport(node) {
  const box = document.createElement("textarea")
  box.className = "comfy-multiline-input"
  box.readOnly = true
  // What the node last said is neither sent with the graph nor kept in the workflow.
  const widget = node.addDOMWidget(NAME, "glitch_report", box, { serialize: false, getMinHeight: () => HEIGHT })
  widget.serialize = false
  const [width, height] = node.computeSize()
  node.setSize([Math.max(width, node.size[0], WIDTH), Math.max(height, node.size[1])])
  return widget
}

function showReport(node, lines) {
  const widget = node.widgets?.find((one) => one.name === NAME) ?? addReport(node)
  widget.element.value = lines.join("\n")
}

app.registerExtension({
  name: "GlitchLoRA.Report",
  nodeCreated(node) {
    if (!NODES.includes(node.comfyClass)) return
    const executed = node.onExecuted
    node.onExecuted = function (message) {
      executed?.apply(this, arguments)
      if (message?.text?.length) showReport(this, message.text)
    }
  }
})
