"""The pack loads in a real ComfyUI server, and the server starter tells apart success, refusal, failure, interrupt."""

import http.server
import json
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from comfy_server import LOCAL, PACK_NAME, ComfyServer, PromptError, ServerError

ROOT = Path(__file__).resolve().parent.parent


def test_pack_is_loaded_without_a_complaint(server):
    start = server.log.split("got prompt")[0]  # other tests queue workflows that are meant to fail
    lines = [line for line in start.splitlines() if PACK_NAME in line]
    assert any("seconds" in line for line in lines), start
    assert "IMPORT FAILED" not in start
    assert "Traceback" not in start


def test_every_node_of_the_pack_is_offered_in_its_menu(server):
    ours = {name: info for name, info in server.object_info().items() if info["python_module"].endswith(PACK_NAME)}
    for name, info in ours.items():
        assert name.startswith("Glitch"), name
        assert info["category"].startswith("Glitch LoRA/"), name
        assert info["description"], name
    assert ours


def test_help_pages_and_scripts_are_served(server):
    extensions = server.get("/extensions")
    for script in sorted((ROOT / "web").rglob("*.js")):
        path = f"/extensions/{PACK_NAME}/{script.relative_to(ROOT / 'web').as_posix()}"
        assert path in extensions
    for page in sorted((ROOT / "web" / "docs").glob("*.md")):
        with LOCAL.open(f"{server.url}/extensions/{PACK_NAME}/docs/{page.name}") as answer:
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


DONE = {"status": {"status_str": "success", "messages": []}, "outputs": {}}


@pytest.fixture
def answering(tmp_path):
    """A starter whose server is a few lines of Python: it drops the first two calls, then answers with DONE.

    Its process is one that sleeps until it is killed.
    """
    calls: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            calls.append(self.path)
            if len(calls) == 1:
                return  # closed without a word
            self.send_response(500 if len(calls) == 2 else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"7": DONE}).encode())

        def log_message(self, *_):
            pass

    starter = ComfyServer(tmp_path, sys.executable, tmp_path)
    starter.log_path.write_text("the last line of the log\n")
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    starter._process = process
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as small:
        starter.port = small.server_port
        threading.Thread(target=small.serve_forever, args=(0.05,), daemon=True).start()
        yield starter, process, calls
        small.shutdown()
    process.kill()
    process.wait(20)


def test_server_that_is_too_busy_to_answer_is_asked_again(answering):
    starter, _, calls = answering
    assert starter.wait("7", timeout=60) == DONE
    assert calls == ["/history/7"] * 3


def test_server_that_dies_is_told_with_its_log(answering):
    starter, process, calls = answering
    process.kill()
    process.wait(20)
    with pytest.raises(ServerError, match="ended with exit status(.|\\n)*the last line of the log"):
        starter.wait("7", timeout=60)
    assert not calls


def test_no_proxy_is_asked_for_our_own_server(answering, monkeypatch):
    """Nothing listens at the proxy's port."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # urlopen keeps the proxies of its first call
    starter, _, _ = answering
    assert starter.wait("7", timeout=20) == DONE


def _starter(base: Path, pack: Path) -> tuple[ComfyServer, Path]:
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    return ComfyServer(base, sys.executable, base, pack), base / "custom_nodes" / PACK_NAME


@pytest.fixture
def clones(tmp_path) -> tuple[Path, Path]:
    """Two clones of a pack."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"# {name}\n")
    return tmp_path / "first", tmp_path / "second"


def _without_links(monkeypatch) -> None:
    def refuse(*_, **__):
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_link_to_another_clone_is_made_anew(tmp_path, clones):
    first, second = clones
    for pack in (first, second, second):
        starter, link = _starter(tmp_path / "base", pack)
        starter._link_pack()
        assert link.resolve() == pack
    assert (first / "__init__.py").exists()
    second.rename(tmp_path / "moved")  # the link leads nowhere now
    starter, link = _starter(tmp_path / "base", first)
    starter._link_pack()
    assert link.resolve() == first


def test_copy_is_made_anew_where_no_link_can_be_made(tmp_path, clones, monkeypatch):
    _without_links(monkeypatch)
    first, second = clones
    (first / "only_in_first.py").write_text("")
    for pack in (first, second):
        starter, link = _starter(tmp_path / "base", pack)
        starter._link_pack()
        assert (link / "__init__.py").read_text() == (pack / "__init__.py").read_text()
    assert not (link / "only_in_first.py").exists()
    (second / "__init__.py").write_text("# changed\n")
    starter._link_pack()
    assert (link / "__init__.py").read_text() == "# changed\n"


def test_folder_that_is_no_copy_of_ours_is_left_alone(tmp_path, clones):
    starter, link = _starter(tmp_path / "base", clones[0])
    link.mkdir()
    (link / "work.py").write_text("mine")
    with pytest.raises(ServerError, match="got a folder that was not put there by us, .* move it away"):
        starter._link_pack()
    assert (link / "work.py").read_text() == "mine"
