// Pictures and caption files that are dropped on Load Dataset, or chosen with its buttons, become a new folder below
// ComfyUI's input folder. They travel through ComfyUI's own upload route, which never replaces a file.
import { api } from "../../../scripts/api.js"
import { app } from "../../../scripts/app.js"

const NODE = "GlitchLoadDataset"
const AT_ONCE = 4
const CAPTION = /\.(txt|caption)$|^metadata\.jsonl$/i
const LABELS = { files: "upload pictures", folder: "upload a folder" }

// What is to be uploaded: {file, path}, path being the folders above the file in what was dropped.

async function filesBelow(entry, path) {
  if (entry.isFile) {
    const file = await new Promise((found, failed) => entry.file(found, failed))
    return [{ file, path }]
  }
  const reader = entry.createReader()
  const children = []
  for (;;) {
    // A reader gives its entries in portions; an empty one is the end.
    const portion = await new Promise((found, failed) => reader.readEntries(found, failed))
    if (!portion.length) break
    children.push(...portion)
  }
  const inside = [...path, entry.name]
  return (await Promise.all(children.map((child) => filesBelow(child, inside)))).flat()
}

function droppedFiles(event) {
  // The entries must be asked for before the first await: afterwards the browser has emptied the event.
  const entries = [...event.dataTransfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry())
  if (entries.every(Boolean)) return Promise.all(entries.map((entry) => filesBelow(entry, []))).then((found) => found.flat())
  return Promise.resolve([...event.dataTransfer.files].map((file) => ({ file, path: [] })))
}

function chosenFiles(input) {
  return [...input.files].map((file) => ({ file, path: file.webkitRelativePath.split("/").slice(0, -1) }))
}

// One folder that holds everything gives the dataset its name and is not repeated below it.
function nameAndContent(found) {
  const [top] = found[0].path
  if (!top || found.some(({ path }) => path[0] !== top)) return ["", found]
  return [top, found.map(({ file, path }) => ({ file, path: path.slice(1) }))]
}

async function answerOf(response) {
  if (!response.ok) throw new Error(`${response.status} ${response.statusText}`)
  return await response.json()
}

async function uploadOne({ file, path }, dataset) {
  const body = new FormData()
  body.append("image", file, file.name)
  body.append("subfolder", [dataset, ...path].join("/"))
  body.append("type", "input")
  const response = await api.fetchApi("/upload/image", { method: "POST", body })
  if (response.status === 413) throw new Error("larger than ComfyUI allows (see its option --max-upload-size)")
  const { name } = await answerOf(response)
  if (name !== file.name) throw new Error(`there was another file of this name, so it was saved as ${name}`)
}

// Makes a new folder below input and returns its name: two uploads at once never share one.
async function claimFolder(wish) {
  const headers = { "Content-Type": "application/json" }
  const body = JSON.stringify({ name: wish })
  const response = await api.fetchApi("/glitch_lora/new_dataset", { method: "POST", headers, body })
  if (!response.ok) throw new Error((await response.text()) || `${response.status} ${response.statusText}`)
  return (await response.json()).name
}

// Uploads a few at a time; returns the failures as lines of text.
async function uploadAll(files, dataset, onDone) {
  const waiting = [...files]
  const failures = []
  let done = 0
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      try {
        await uploadOne(next, dataset)
      } catch (error) {
        failures.push(`${[...next.path, next.file.name].join("/")}: ${error.message}`)
      }
      onDone(++done)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return failures
}

function isWanted(file, extensions) {
  const extension = file.name.slice(file.name.lastIndexOf(".")).toLowerCase()
  return !file.name.startsWith(".") && (CAPTION.test(file.name) || extensions.includes(extension))
}

// What the node shows

function tell(severity, summary, lines = []) {
  const shown = lines.slice(0, 8)
  if (lines.length > shown.length) shown.push(`and ${lines.length - shown.length} more`)
  app.extensionManager.toast.add({
    severity,
    summary,
    detail: shown.join("\n"),
    life: severity === "success" ? 5000 : undefined
  })
}

function show(node, text, progress) {
  const [button] = node.glitchUpload.buttons
  button.label = text ?? LABELS.files
  node.progress = progress
  node.setDirtyCanvas(true, true)
}

async function chooseFolder(node, name) {
  const folders = await answerOf(await api.fetchApi("/glitch_lora/datasets"))
  const widget = node.widgets.find(({ name }) => name === "folder")
  widget.options.values = folders
  widget.value = name
  widget.callback?.(name, app.canvas, node)
  app.extensionManager.workflow?.activeWorkflow?.changeTracker?.checkState?.()
}

async function upload(node, found) {
  if (node.glitchUpload.busy) return tell("warn", "An upload is already running on this node")
  node.glitchUpload.busy = true
  try {
    show(node, "looking at the files", 0)
    await uploadFound(node, await found)
  } catch (error) {
    show(node, "upload failed, try again")
    tell("error", "Upload failed", [error.message])
  } finally {
    node.glitchUpload.busy = false
    node.progress = undefined
  }
}

async function uploadFound(node, found) {
  if (!found.length) return show(node)
  const [wish, content] = nameAndContent(found)
  const extensions = await answerOf(await api.fetchApi("/glitch_lora/picture_extensions"))
  const files = content.filter(({ file }) => isWanted(file, extensions))
  const pictures = files.filter(({ file }) => !CAPTION.test(file.name)).length
  if (!pictures) throw new Error(`got ${found.length} files without a picture among them, allowed are ${extensions.join(" ")}`)
  const name = await claimFolder(wish)
  const failures = await uploadAll(files, name, (done) =>
    show(node, `uploading ${done} of ${files.length}`, done / files.length)
  )
  if (failures.length < files.length) await chooseFolder(node, `input/${name}`)
  show(node, failures.length ? `${failures.length} of ${files.length} failed` : undefined)
  report(name, pictures, files.length - pictures, content.length - files.length, failures)
}

function report(name, pictures, captions, skipped, failures) {
  const left = skipped ? [`${skipped} files skipped: neither pictures nor captions`] : []
  if (failures.length) tell("error", `input/${name}: ${failures.length} files were not uploaded`, failures)
  else tell("success", `input/${name}`, [`${pictures} pictures and ${captions} caption files uploaded`, ...left])
}

// The node

function fileInput(node, isFolder) {
  const input = document.createElement("input")
  input.type = "file"
  input.multiple = true
  input.webkitdirectory = isFolder
  input.onchange = () => {
    const found = chosenFiles(input)
    input.value = "" // the same files can be chosen again
    upload(node, found)
  }
  return input
}

function addButton(node, label, isFolder) {
  const input = fileInput(node, isFolder)
  const button = node.addWidget("button", label, null, () => input.click(), { serialize: false })
  button.serialize = false // it holds no value: neither the workflow file nor the prompt has one for it
  button.tooltip = "Pictures and caption files (.txt, .caption, metadata.jsonl) become a new folder in ComfyUI's input."
  return button
}

app.registerExtension({
  name: "GlitchLoRA.Upload",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return
    const buttons = [addButton(node, LABELS.files, false), addButton(node, LABELS.folder, true)]
    node.glitchUpload = { busy: false, buttons }
    node.onDragOver = (event) => [...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file")
    node.onDragDrop = (event) => {
      if (!node.onDragOver(event)) return false
      upload(node, droppedFiles(event))
      return true
    }
  }
})
