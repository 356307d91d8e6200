"""The pack loads in a real ComfyUI server, and the server starter tells apart success, refusal, failure, interrupt."""

import json
from pathlib import Path

import pytest
from comfy_server import PACK_NAME, PromptError, ServerError

ROOT = Path(__file__).resolve().parent.parent


def test_pack_is_loaded_without_a_complaint(server):
    lines = [line for line in server.log.splitlines() if PACK_NAME in line]
    assert any("seconds" in line for line in lines), server.log
    assert "IMPORT FAILED" not in server.log
    assert "Traceback" not in server.log


def test_every_node_of_the_pack_is_offered_in_its_menu(server):
    ours = {name: info for name, info in server.object_info().items() if info["python_module"].endswith(PACK_NAME)}
    for name, info in ours.items():
        assert name.startswith("Glitch"), name
        assert info["category"].startswith("Glitch LoRA/"), name
        assert info["description"], name
    assert ours


def test_help_pages_and_scripts_are_served(server):
    import urllib.request

    extensions = server.get("/extensions")
    for script in sorted((ROOT / "web").rglob("*.js")):
        path = f"/extensions/{PACK_NAME}/{script.relative_to(ROOT / 'web').as_posix()}"
        assert path in extensions
    for page in sorted((ROOT / "web" / "docs").glob("*.md")):
        with urllib.request.urlopen(f"{server.url}/extensions/{PACK_NAME}/docs/{page.name}") as answer:
            assert answer.read() == page.read_bytes()
            assert "html" not in answer.headers["Content-Type"]


def test_workflow_runs_and_its_files_are_found(server):
    picture = {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": 255}}
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "starter"}}
    entry = server.queue({"1": picture, "2": save}, workflow={"nodes": []})
    (path,) = server.files(entry)
    from PIL import Image

    with Image.open(path) as image:
        assert image.size == (32, 16)
        assert json.loads(image.text["workflow"]) == {"nodes": []}
    assert any(kind == "executing" for kind, _ in server.events)


def test_refused_workflow_names_node_and_input(server):
    with pytest.raises(PromptError, match=r"SaveImage \(node 1\).*images"):
        server.queue({"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}})


def test_failing_node_is_named(server):
    load = {"class_type": "LoadImage", "inputs": {"image": "broken.png"}}
    server.upload("broken.png", b"not a picture")
    show = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    with pytest.raises(PromptError, match=r"LoadImage \(node 1\)") as failure:
        server.queue({"1": load, "2": show})
    assert failure.value.entry["status"]["status_str"] == "error"


def test_server_that_cannot_start_shows_its_log(comfy_server, tmp_path):
    broken = comfy_server(tmp_path / "with space", arguments=("--no-such-option",))
    with pytest.raises(ServerError, match="no-such-option"):
        broken.start()
