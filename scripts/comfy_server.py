"""Start a real ComfyUI server with this pack, queue workflows on it, listen to it, stop it. Standard library only."""

from __future__ import annotations  # an older Python must get as far as being told which one is needed

import base64
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

PACK = Path(__file__).resolve().parent.parent
PACK_NAME = "comfyui-glitch-lora"
_TEXT_FRAME, _BINARY_FRAME, _CLOSE_FRAME, _PING_FRAME = 1, 2, 8, 9
_PROGRESS_TEXT = 3
# In a folder of custom_nodes that is a copy which we made, and may remove, where no link could be made.
_COPY_MARK = ".copied-by-comfy-server"

# Our server is on this machine: whatever proxy the environment names is not to be asked for it.
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Json = dict[str, Any]


class ServerError(RuntimeError):
    """The server did not start, stopped, or did not answer in time; the text holds the end of its log."""


class PromptError(RuntimeError):
    """A workflow was refused or a node failed; `entry` is the history entry, empty when it was refused."""

    def __init__(self, message: str, entry: Json | None = None) -> None:
        super().__init__(message)
        self.entry = entry or {}


class PromptInterrupted(PromptError):
    """The workflow was interrupted."""


class ComfyServer:
    """A ComfyUI server process of its own on a free port; use it as a context manager.

    comfyui: ComfyUI's tree. python: the interpreter that has its requirements. base: folder for models, input,
    output and user files. pack: linked into custom_nodes as the only custom node; None loads none. cpu: stay off
    the graphics card.
    events: every message of the websocket, as (type, data); progress text has the type "progress_text".
    """

    def __init__(
        self,
        comfyui: Path,
        python: Path | str,
        base: Path,
        pack: Path | None = PACK,
        arguments: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        on_event: Callable[[str, Json], None] | None = None,
        cpu: bool = True,
    ) -> None:
        self.comfyui = Path(comfyui)
        self.python = str(python)
        self.base = Path(base)
        self.pack = pack
        self.arguments = arguments
        self.environment = environment or {}
        self.on_event = on_event
        self.cpu = cpu
        self.client_id = uuid.uuid4().hex
        self.events: list[tuple[str, Json]] = []
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log_file: BinaryIO | None = None

    def __enter__(self) -> ComfyServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address of the page, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        """Where the server writes its log."""
        return self.base / "server.log"

    @property
    def log(self) -> str:
        """All that the server has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def process_id(self) -> int:
        """The server's process id, for tests that kill it."""
        return self._running().pid

    def check_running(self) -> None:
        """Raise ServerError with the end of the log when the process is not running."""
        self._running()

    def start(self, timeout: float = 180) -> ComfyServer:
        """Start the process and return when it answers. Raises ServerError with the end of the log."""
        self.base.mkdir(parents=True, exist_ok=True)
        for folder in ("custom_nodes", "input", "output", "temp", "user", "models/checkpoints"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        self._link_pack()
        self.port = _free_port()
        self._log_file = self.log_path.open("ab")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
        self._process = subprocess.Popen(
            self._command(),
            cwd=self.comfyui,
            env=environment | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"} | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log_file,
            stderr=subprocess.STDOUT,
            start_new_session=os.name != "nt",
        )
        try:
            self._wait_until_up(time.monotonic() + timeout)
            threading.Thread(target=self._listen, args=(self._connect(),), daemon=True).start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server, politely first; its files stay."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate() if os.name == "nt" else process.send_signal(signal.SIGINT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        if self._log_file is not None:
            self._log_file.close()
            self._log_file = None

    def kill(self) -> None:
        """End the server as a power cut would (kill -9)."""
        process = self._running()
        process.kill()
        process.wait(10)
        self.stop()

    def get(self, path: str, timeout: float = 60) -> Any:
        """Return the JSON answer to a GET, e.g. ``get("/system_stats")``."""
        with LOCAL.open(self.url + path, timeout=timeout) as answer:
            return json.loads(answer.read() or b"null")

    def post(self, path: str, body: Any, timeout: float = 60) -> Any:
        """Return the JSON answer to a POST of a JSON body."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with LOCAL.open(request, timeout=timeout) as answer:
            return json.loads(answer.read() or b"null")

    def object_info(self) -> Json:
        """Return the schema of every node, as the front end reads it."""
        return self.get("/object_info", timeout=120)

    def submit(self, prompt: Json, workflow: Json | None = None, client_id: str | None = None) -> str:
        """Queue an API-format workflow and return its id. Raises PromptError when ComfyUI refuses any of its outputs.

        workflow: the UI form, which ComfyUI writes into the files it saves.
        """
        body: Json = {"prompt": prompt, "client_id": client_id or self.client_id}
        if workflow is not None:
            body["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        try:
            answer = self.post("/prompt", body)
        except urllib.error.HTTPError as error:
            raise PromptError(_refusal(error.read().decode("utf-8", "replace"))) from error
        if answer.get("node_errors"):  # ComfyUI runs the outputs that are right and leaves the others out
            self.post("/queue", {"delete": [answer["prompt_id"]]})
            raise PromptError(_refusal(json.dumps(answer)))
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 300) -> Json:
        """Return the history entry of a finished workflow; `entry["outputs"]` holds each output node's files.

        Raises PromptError with the node's message, PromptInterrupted, or ServerError.
        """
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.check_running()
            entry = self._history(prompt_id)
            if entry is not None:
                _raise_failure(entry)
                return entry
            time.sleep(0.1)
        raise ServerError(
            f"the workflow did not finish in {timeout:.0f} s; the end of {self.log_path}:\n{self._tail()}"
        )

    def _history(self, prompt_id: str) -> Json | None:
        """Return the history entry, or None while there is none or the server is too busy (or dying) to answer."""
        try:
            return self.get(f"/history/{prompt_id}").get(prompt_id)
        except (OSError, http.client.HTTPException):
            return None

    def queue(self, prompt: Json, timeout: float = 300, workflow: Json | None = None) -> Json:
        """Run a workflow to its end: `submit`, then `wait`."""
        return self.wait(self.submit(prompt, workflow), timeout)

    def interrupt(self) -> None:
        """Ask the running workflow to stop, as the Cancel button does."""
        self.post("/interrupt", {})

    def upload(self, name: str, content: bytes, subfolder: str = "", folder: str = "input") -> Json:
        """Upload a file through ComfyUI's own route and return its answer (name, subfolder, type)."""
        boundary = secrets.token_hex(16)
        fields = {"subfolder": subfolder, "type": folder}
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
            for key, value in fields.items()
        )
        disposition = f'Content-Disposition: form-data; name="image"; filename="{name}"'
        file_head = f"--{boundary}\r\n{disposition}\r\nContent-Type: application/octet-stream\r\n\r\n"
        body = (head + file_head).encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        request = urllib.request.Request(self.url + "/upload/image", body, headers)
        with LOCAL.open(request, timeout=60) as answer:
            return json.loads(answer.read())

    def files(self, entry: Json, kind: str = "images") -> list[Path]:
        """Return the paths of the files that a history entry's output nodes report, in node order."""
        folders = {folder: self.base / folder for folder in ("output", "temp", "input")}
        return [
            folders[found["type"]] / found.get("subfolder", "") / found["filename"]
            for output in entry["outputs"].values()
            for found in output.get(kind, ())
            if isinstance(found, dict)
        ]

    def _command(self) -> list[str]:
        command = [self.python, "main.py", *(["--cpu"] if self.cpu else [])]
        command += ["--port", str(self.port), "--base-directory", str(self.base)]
        command += ["--database-url", "sqlite:///:memory:", "--disable-api-nodes", "--disable-all-custom-nodes"]
        if self.pack is not None:
            command += ["--whitelist-custom-nodes", PACK_NAME]
        return [*command, *self.arguments]

    def _link_pack(self) -> None:
        """Put the pack into custom_nodes, in place of a link to another clone or of an older copy of ours."""
        link = self.base / "custom_nodes" / PACK_NAME
        if self.pack is None or link.resolve() == self.pack.resolve():
            return
        if link.is_symlink():
            link.unlink()
        elif (link / _COPY_MARK).is_file():
            shutil.rmtree(link)
        elif link.exists():
            raise ServerError(f"{link}: got a folder that was not put there by us, needed {self.pack}, move it away")
        try:
            link.symlink_to(self.pack, target_is_directory=True)
        except OSError:  # Windows without the right to make links
            link.mkdir()
            (link / _COPY_MARK).touch()
            ignored = shutil.ignore_patterns(".*", "__pycache__", "tests")
            shutil.copytree(self.pack, link, ignore=ignored, dirs_exist_ok=True)

    def _wait_until_up(self, end: float) -> None:
        while time.monotonic() < end:
            self._running()
            try:
                self.get("/system_stats", timeout=5)
                return
            except OSError:
                time.sleep(0.1)
        raise ServerError(f"ComfyUI did not answer; the end of {self.log_path}:\n{self._tail()}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError("the ComfyUI server is not running; start it first")
        if self._process.poll() is not None:
            code = self._process.returncode
            raise ServerError(f"ComfyUI ended with exit status {code}; the end of {self.log_path}:\n{self._tail()}")
        return self._process

    def _tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.splitlines()[-lines:])

    def _connect(self) -> BinaryIO:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        request = (
            f"GET /ws?clientId={self.client_id} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        connection.sendall(request.encode())
        stream = connection.makefile("rb")
        if b" 101 " not in stream.readline():
            raise ServerError("ComfyUI refused the websocket")
        while stream.readline().strip():
            pass
        connection.settimeout(None)
        self._connection = connection
        return stream

    def _listen(self, stream: BinaryIO) -> None:
        try:
            while (frame := _read_frame(stream)) is not None:
                kind, payload = frame
                if kind == _PING_FRAME:
                    self._connection.sendall(_masked_pong(payload))
                elif kind == _TEXT_FRAME:
                    message = json.loads(payload)
                    self._remember(message["type"], message.get("data") or {})
                elif kind == _BINARY_FRAME and struct.unpack(">I", payload[:4])[0] == _PROGRESS_TEXT:
                    self._remember("progress_text", _progress_text(payload[4:]))
        except (OSError, ValueError):
            pass  # the server has gone; whoever waits for it is told by `wait`

    def _remember(self, kind: str, data: Json) -> None:
        self.events.append((kind, data))
        if self.on_event is not None:
            self.on_event(kind, data)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _refusal(answer: str) -> str:
    """Return ComfyUI's reasons for refusing a workflow as text, one line each."""
    try:
        body = json.loads(answer)
    except ValueError:
        return answer
    error = body.get("error") or {}
    lines = [error.get("message", "Some outputs are refused") if isinstance(error, dict) else str(error)]
    for node_id, node in (body.get("node_errors") or {}).items():
        for reason in node["errors"]:
            lines.append(f"{node['class_type']} (node {node_id}): {reason['message']}: {reason['details']}")
    return "\n".join(lines)


def _raise_failure(entry: Json) -> None:
    for kind, data in entry["status"]["messages"]:
        if kind == "execution_interrupted":
            raise PromptInterrupted(f"interrupted in {data.get('node_type')} (node {data.get('node_id')})", entry)
        if kind == "execution_error":
            where = f"{data.get('node_type')} (node {data.get('node_id')})"
            raise PromptError(f"{where}: {data.get('exception_type')}: {data.get('exception_message')}", entry)
    if entry["status"]["status_str"] != "success":
        raise PromptError(f"the workflow ended with status {entry['status']}", entry)


def _read_frame(stream: BinaryIO) -> tuple[int, bytes] | None:
    """Return the next websocket message as (kind, payload), or None at the end (RFC 6455, fragments joined)."""
    kind, parts = 0, b""
    while True:
        head = stream.read(2)
        if len(head) < 2:
            return None
        code, length = head[0] & 15, head[1] & 127
        if length == 126:
            length = struct.unpack(">H", stream.read(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", stream.read(8))[0]
        payload = stream.read(length)
        if code == _CLOSE_FRAME:
            return None
        if code >= _CLOSE_FRAME:
            return code, payload
        kind, parts = code or kind, parts + payload
        if head[0] & 128:
            return kind, parts


def _masked_pong(payload: bytes) -> bytes:
    mask = secrets.token_bytes(4)
    return bytes([128 | 10, 128 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def _progress_text(payload: bytes) -> Json:
    length = struct.unpack(">I", payload[:4])[0]
    return {"node": payload[4 : 4 + length].decode(), "text": payload[4 + length :].decode("utf-8", "replace")}
