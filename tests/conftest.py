"""What every test may rely on: the pack as `glitch_lora`, ComfyUI on the CPU, tiny models, a real server.

ComfyUI's tree comes from the environment variable COMFYUI_PATH (scripts/test.py sets it).
"""

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent


def _comfyui_path() -> Path:
    path = os.environ.get("COMFYUI_PATH", "")
    if not (Path(path) / "comfyui_version.py").is_file():
        raise RuntimeError(
            f"COMFYUI_PATH: got {path!r}, needed the folder of a ComfyUI 0.30 or newer; run python3 scripts/test.py"
        )
    return Path(path)


def _prepare_comfyui() -> None:
    """Let `comfy`, `comfy_api`, `folder_paths` and ComfyUI's `nodes` be imported, on the CPU.

    The repository itself must not be on the path: its folder `nodes` would hide ComfyUI's module of that name.
    """
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]
    sys.path += [str(_comfyui_path()), str(TESTS), str(ROOT / "scripts")]
    import comfy.cli_args

    comfy.cli_args.args.cpu = True


for _name, _value in {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"}.items():
    os.environ.setdefault(_name, _value)
_prepare_comfyui()

from as_package import register_pack  # noqa: E402  (scripts/ is on the path only now)
from comfy_server import ComfyServer  # noqa: E402

register_pack()


@pytest.fixture(scope="session", autouse=True)
def torch_threads() -> None:
    """One thread per parallel worker: two workers with two threads each on two cores are twenty times slower."""
    import torch

    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else os.cpu_count() or 1)


@pytest.fixture(scope="session")
def comfy() -> ModuleType:
    """ComfyUI's `comfy` package, on the CPU, with the modules the tests use loaded."""
    for module in ("comfy.model_management", "comfy.sample", "comfy.sd"):
        importlib.import_module(module)
    return importlib.import_module("comfy")


@pytest.fixture
def unchanged_random_state() -> Iterator[None]:
    """Fail the test when it leaves a global random generator (torch, NumPy, Python) in another state."""
    import random

    import numpy as np
    import torch

    before = (torch.random.get_rng_state().clone(), np.random.get_state()[1].tobytes(), random.getstate())
    yield
    assert torch.equal(before[0], torch.random.get_rng_state()), "torch's global generator moved"
    assert before[1] == np.random.get_state()[1].tobytes(), "NumPy's global generator moved"
    assert before[2] == random.getstate(), "Python's global generator moved"


@pytest.fixture(scope="session")
def comfy_server() -> Callable[..., ComfyServer]:
    """A function that makes a server (not started) with our pack: ``comfy_server(base_folder, arguments=(...))``."""

    def make(base: Path, **settings: Any) -> ComfyServer:
        return ComfyServer(_comfyui_path(), sys.executable, base, **settings)

    return make


@pytest.fixture(scope="session")
def server(comfy_server: Callable[..., ComfyServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """A running server with our pack, one per test process; its folder is `server.base`."""
    with comfy_server(tmp_path_factory.mktemp("comfyui")) as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium or Chrome; without one the test is skipped, on a build machine (CI=true) it fails."""
    path = os.environ.get("GLITCH_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path:
        return path
    reason = "no Chromium or Chrome found: install one or set GLITCH_CHROMIUM to its path"
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)
