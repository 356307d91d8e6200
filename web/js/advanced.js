// The classic canvas draws inputs marked as advanced like any other, which makes a recipe of 35 inputs as tall as the
// screen. On our nodes it folds them away, as the new design does; the node's menu entry "Show Advanced" opens them.
import { app } from "../../../scripts/app.js"

const ALWAYS = "Comfy.Node.AlwaysShowAdvancedWidgets"

function isAdvanced(node, widget) {
  // The control beside a seed is a widget of its own and follows its seed.
  const owner = node.widgets.find((other) => other.linkedWidgets?.includes(widget)) ?? widget
  return Boolean(owner.options?.advanced) && !app.extensionManager.setting.get(ALWAYS)
}

function foldAdvanced(node) {
  node.hasAdvancedWidgets = () => (node.widgets ?? []).some((widget) => isAdvanced(node, widget))
  node.isWidgetVisible = (widget) =>
    !(node.collapsed || widget.hidden || (isAdvanced(node, widget) && !node.showAdvanced))
  // What is not visible takes no room either.
  node.getLayoutWidgets = () => (node.widgets ?? []).filter((widget) => !widget.hidden && node.isWidgetVisible(widget))
  const [width, height] = node.computeSize()
  node.setSize([Math.max(width, node.size[0]), height])
}

// Showing or hiding changes the height; the stock toggle only ever grows a node.
function shrinkOnToggle(node) {
  const toggle = node.toggleAdvanced
  node.toggleAdvanced = function () {
    toggle.call(this)
    this.setSize([this.size[0], this.computeSize()[1]])
  }
}

app.registerExtension({
  name: "GlitchLoRA.Advanced",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("Glitch")) return
    foldAdvanced(node)
    shrinkOnToggle(node)
  }
})
