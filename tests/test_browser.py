"""The canvas in a real browser: the shipped workflows open, pictures are uploaded, nodes look right.

Oracles: the front end itself (its errors, its conversion to API form) and the files that arrive in ComfyUI's input.
"""

import time
from pathlib import Path

import pytest
from canvas import canvas, fit_view
from comfy_server import PACK_NAME
from photographs import photograph
from PIL import Image
from shipped_workflow import BENCH, DEMO, DIARY, TRAIN, WORKFLOWS, api_form, lay_out, ui_form

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

# The front end asks for files that a new user does not have, and for models of its own first workflow.
NOT_OURS = ("user.css", "/api/userdata", "graph accessed before initialization", "missingModelDownload")


@pytest.fixture(scope="module")
def page(server, chromium):
    lay_out(server)
    with canvas(server, chromium) as opened:
        yield opened


@pytest.fixture(scope="module", params=[False, True], ids=["classic", "nodes 2.0"])
def design(page, server, request):
    """The page in each of the two designs of nodes."""
    server.post("/settings", {"Comfy.VueNodes.Enabled": request.param})
    return page


@pytest.fixture(scope="module", params=WORKFLOWS, ids=lambda path: path.stem)
def opened(design, server, request):
    """The page with a shipped workflow, opened from its template address, and the workflow's path."""
    design.complaints.clear()
    design.goto(f"{server.url}/?template={request.param.stem}&source={PACK_NAME}")
    count = len(ui_form(request.param)["nodes"])
    design.wait_for_function(f"() => window.app?.graph?._nodes?.length === {count}", timeout=60_000)
    design.wait_for_timeout(1000)
    fit_view(design)
    return design, request.param


@pytest.fixture
def shown(design, server):
    """The page with the workflow for pictures of one's own."""
    design.goto(server.url)
    design.wait_for_function("() => window.app?.extensionManager && window.graph")
    design.wait_for_timeout(1000)
    design.evaluate("workflow => app.loadGraphData(workflow)", ui_form())
    fit_view(design)
    return design


def test_template_opens_without_a_missing_node_or_an_error(opened, tmp_path):
    page, _ = opened
    lost = "app.graph._nodes.filter(node => node.has_errors || !LiteGraph.registered_node_types[node.type]).length"
    assert page.evaluate(f"() => {lost}") == 0
    assert [text for text in page.complaints if not any(known in text for known in NOT_OURS)] == []
    assert page.get_by_role("dialog").count() == 0
    end = time.monotonic() + 60
    while (seen := _colours(page, tmp_path / "canvas.png")) <= 100:
        assert time.monotonic() < end, f"{seen} colours: nothing was drawn"


def test_front_end_sends_what_the_converter_gives(opened, server):
    page, path = opened
    sent = page.evaluate("async () => (await app.graphToPrompt()).output")
    wanted = api_form(server, path)
    assert {number: node["inputs"] for number, node in sent.items()} == {
        number: node["inputs"] for number, node in wanted.items()
    }
    assert {number: node["class_type"] for number, node in sent.items()} == {
        number: node["class_type"] for number, node in wanted.items()
    }


def test_saving_again_keeps_every_value(opened):
    page, path = opened
    saved = page.evaluate("() => app.graph.serialize().nodes.map(node => [node.id, node.widgets_values ?? []])")
    kept = {node["id"]: node.get("widgets_values", []) for node in ui_form(path)["nodes"]}
    assert dict(saved) == kept


def test_one_key_takes_a_part_in_or_out(opened, server):
    """Ctrl+B on a corruption, or on the word: in the demo it is bypassed at first, in the others it takes part."""
    page, path = opened
    kind = {BENCH: "GlitchCorruptImage", DIARY: "GlitchRecipeEmbedding"}.get(path, "GlitchCorruptDataset")
    there = [node for node in api_form(server, path).values() if node["class_type"] == kind]
    sent = page.evaluate(
        """async kind => {
          const toggle = () => app.extensionManager.command.execute("Comfy.Canvas.ToggleSelectedNodes.Bypass")
          app.canvas.selectNode(app.graph._nodes.find(each => each.type === kind))
          await toggle()
          const {output} = await app.graphToPrompt()
          await toggle()
          return output
        }""",
        kind,
    )
    left = [node for node in sent.values() if node["class_type"] == kind]
    assert len(left) == (1 if path == DEMO else len(there) - 1)
    assert not (path == DEMO and there)


def test_template_browser_shows_the_workflows_the_demo_first(page, server):
    page.goto(server.url)
    page.wait_for_function("() => window.app?.extensionManager && window.graph")
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text(PACK_NAME, exact=False).first.click()
    cards = [dialog.get_by_text(path.stem, exact=False).first for path in (DEMO, TRAIN)]
    for card in cards:
        card.wait_for()
    demo, train = (card.bounding_box() for card in cards)
    assert (demo["y"], demo["x"]) < (train["y"], train["x"])
    thumbnail = dialog.locator("img").first
    thumbnail.wait_for()
    assert thumbnail.evaluate("image => image.decode().then(() => image.naturalWidth)") >= 300


def test_advanced_inputs_are_folded_away_on_the_classic_canvas(page, server):
    server.post("/settings", {"Comfy.VueNodes.Enabled": False})
    page.goto(server.url)
    page.wait_for_function(
        "() => window.app?.extensionManager && LiteGraph.registered_node_types.GlitchRecipe && app.graph"
    )
    folded, unfolded, again, shown_names = page.evaluate(
        """() => {
          app.graph.clear()
          const node = LiteGraph.createNode("GlitchRecipe")
          app.graph.add(node)
          const height = () => node.size[1]
          const heights = [height()]
          const names = node.widgets.filter(widget => node.isWidgetVisible(widget)).map(widget => widget.name)
          node.toggleAdvanced(); heights.push(height())
          node.toggleAdvanced(); heights.push(height())
          return [...heights, names]
        }"""
    )
    info = server.object_info()["GlitchRecipe"]["input"]["required"]
    usual = [name for name, spec in info.items() if not spec[1].get("advanced")]
    assert shown_names == usual
    assert folded == again < unfolded / 2


def test_dropped_pictures_and_captions_become_a_new_folder(shown, server, tmp_path):
    files = _write(tmp_path, {"b.png": "coffee", "a.jpg": "chelsea"}, {"b.txt": "a cup", "notes.md": "not a caption"})
    before = _datasets(server)
    name = _drop(shown, files)
    assert name.startswith("input/dataset-") and name not in before
    arrived = {path.name: path.read_bytes() for path in (server.base / name).iterdir()}
    assert arrived == {path.name: path.read_bytes() for path in files if path.suffix != ".md"}
    assert name in _folder_widget(shown)["values"]
    assert len(shown.evaluate(f"() => {NODE}.serialize().widgets_values")) == 9  # no value for the buttons


def test_dropped_folder_keeps_its_name_and_its_subfolders(shown, server, tmp_path):
    folder = tmp_path / "my cats"
    for part in (folder, folder / "10_tabby"):
        _write(part, {"cat.png": "chelsea"}, {"cat.caption": "a cat"})
    first = _drop(shown, [folder])
    second = _drop(shown, [folder])
    assert first.startswith("input/my cats")
    assert second.startswith("input/my cats-") and second != first
    for name in (first, second):
        found = {path.relative_to(server.base / name).as_posix() for path in (server.base / name).rglob("*.*")}
        assert found == {"cat.png", "cat.caption", "10_tabby/cat.png", "10_tabby/cat.caption"}


def test_files_chosen_in_the_dialog_are_uploaded(shown, server, tmp_path):
    files = _write(
        tmp_path, {"rocket.webp": "rocket"}, {"metadata.jsonl": '{"file_name": "rocket.webp", "text": "up"}'}
    )
    before = _folder_widget(shown)["value"]
    with shown.expect_file_chooser() as chooser:
        shown.evaluate(f"() => {NODE}.widgets.find(widget => widget.name === 'upload pictures').callback()")
    chooser.value.set_files(files)
    name = _wait_for_another(shown, before)
    assert {path.name for path in (server.base / name).iterdir()} == {path.name for path in files}


def test_drop_without_a_picture_is_refused_in_words(shown, server, tmp_path):
    before = sorted(path.name for path in (server.base / "input").iterdir())
    chosen = _folder_widget(shown)["value"]
    files = _write(tmp_path, {}, {"only.txt": "a caption"})
    _drop_files(shown, files)
    shown.get_by_text("without a picture among them").wait_for(timeout=20_000)
    assert sorted(path.name for path in (server.base / "input").iterdir()) == before
    assert _folder_widget(shown)["value"] == chosen


def test_failed_upload_is_told_and_the_rest_arrives(shown, server, tmp_path):
    files = _write(tmp_path, {"good.png": "coffee", "bad.png": "rocket"}, {})

    def refuse(route):
        bad = b'filename="bad.png"' in (route.request.post_data_buffer or b"")
        route.fulfill(status=507, body="") if bad else route.continue_()

    shown.route("**/upload/image", refuse)
    try:
        name = _drop(shown, files)
        shown.get_by_text("bad.png: 507", exact=False).wait_for(timeout=20_000)
    finally:
        shown.unroute("**/upload/image")
    assert [path.name for path in (server.base / name).iterdir()] == ["good.png"]


def test_an_upload_that_fails_whole_leaves_no_dataset(shown, server, tmp_path):
    files = _write(tmp_path, {"bad.png": "rocket"}, {})
    chosen, listed = _folder_widget(shown)["value"], _datasets(server)
    shown.route("**/upload/image", lambda route: route.fulfill(status=507, body=""))
    try:
        _drop_files(shown, files)
        shown.get_by_text("1 files were not uploaded", exact=False).last.wait_for(timeout=20_000)
    finally:
        shown.unroute("**/upload/image")
    assert _folder_widget(shown)["value"] == chosen
    assert _datasets(server) == listed


NODE = "app.graph._nodes.find(node => node.type === 'GlitchLoadDataset')"


def _colours(page, path):
    """Return how many colours a small copy of what the page shows has."""
    page.screenshot(path=path)
    with Image.open(path) as image:
        return len(set(image.convert("RGB").resize((80, 50)).get_flattened_data()))


def _write(folder: Path, pictures: dict[str, str], texts: dict[str, str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, photo in pictures.items():
        photograph(photo).save(folder / name)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in (*pictures, *texts)]


def _datasets(server):
    return server.get("/glitch_lora/datasets")


def _folder_widget(page):
    return page.evaluate(
        f"() => {{ const w = {NODE}.widgets[0]; return {{value: w.value, values: w.options.values}} }}"
    )


def _wait_for_another(page, before):
    page.wait_for_function(f"before => {NODE}.widgets[0].value !== before", arg=before, timeout=30_000)
    return _folder_widget(page)["value"]


def _drop(page, paths):
    """Drop files or folders on the node as from the desktop and return the folder it chooses."""
    before = _folder_widget(page)["value"]
    page.wait_for_function(f"() => !{NODE}.glitchUpload.busy")
    _drop_files(page, paths)
    return _wait_for_another(page, before)


def _drop_files(page, paths):
    x, y = page.evaluate(
        f"""() => {{
          const node = {NODE}, space = app.canvas.ds, frame = app.canvasEl.getBoundingClientRect()
          const [x, y] = [node.pos[0] + node.size[0] / 2, node.pos[1] + 20]
          return [frame.left + (x + space.offset[0]) * space.scale, frame.top + (y + space.offset[1]) * space.scale]
        }}"""
    )
    browser = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
        page.wait_for_timeout(200)
    browser.detach()
