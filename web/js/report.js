// Nodes that answer in text show it below their inputs. The front end shows the text of its own nodes only.
import { app } from "../../../scripts/app.js"

const NAME = "report"
const MARGIN = 10
// Size of the report in pixels: a page, a table, or a sentence or two.
const SIZES = {
  GlitchInspectTrigger: [720, 300],
  GlitchMeasureImages: [420, 200],
  GlitchSaveLora: [320, 90],
  GlitchSaveEmbedding: [320, 90]
}

function addReport(node) {
  const [wanted, tall] = SIZES[node.comfyClass]
  const box = document.createElement("textarea")
  box.className = "comfy-multiline-input"
  box.readOnly = true
  box.style.minHeight = `${tall - MARGIN}px` // Nodes 2.0 asks the box, not the widget
  // What the node last said is neither sent with the graph nor kept in the workflow.
  const widget = node.addDOMWidget(NAME, "glitch_report", box, { serialize: false, getMinHeight: () => tall })
  widget.serialize = false
  const [width, height] = node.computeSize()
  node.setSize([Math.max(width, node.size[0], wanted), Math.max(height, node.size[1])])
  return widget
}

function showReport(node, lines) {
  const widget = node.widgets?.find((one) => one.name === NAME) ?? addReport(node)
  widget.element.value = lines.join("\n")
}

app.registerExtension({
  name: "GlitchLoRA.Report",
  nodeCreated(node) {
    if (!(node.comfyClass in SIZES)) return
    const executed = node.onExecuted
    node.onExecuted = function (message) {
      executed?.apply(this, arguments)
      if (message?.text?.length) showReport(this, message.text)
    }
  }
})
