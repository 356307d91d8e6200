"""The house rules, held by machine: style, types, who may know whom, and what every node must offer."""

import ast
import asyncio
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("dataset", "demo", "glitch", "host", "metrics", "nodes", "sampling", "training")

# Who may know whom: a package may import itself and what stands here. `nodes` may import everything.
MAY_IMPORT = {
    "": {"host", "nodes"},
    "nodes": set(PACKAGES),
    "host": {"dataset", "training"},
    "dataset": {"metrics"},
    "demo": {"dataset", "metrics"},
    "glitch": {"dataset"},
    "training": {"dataset"},
    "metrics": set(),
    "sampling": {"dataset", "metrics", "training"},
}
# What `host` may know of the others: plain types, the seeds, and how a file appears whole.
PLAIN = {"dataset.dataset", "dataset.sample", "dataset.seeds", "training.conditioning", "training.recipe"}
PLAIN |= {"dataset.trigger_facts", "dataset.words", "training.atomic", "training.words"}
# The one file of `sampling` that knows the host: it renders a cell. The runner takes anything with its methods.
RENDERER = "sampling/lora_renderer.py"
COMFYUI = {"comfy", "comfy_api", "comfy_api_nodes", "comfy_execution", "comfy_extras", "comfyui_version", "execution"}
COMFYUI |= {"folder_paths", "latent_preview", "node_helpers", "nodes", "server"}
# Slow to import, or with a side effect on import: only inside the function that needs them.
LATE = {"accelerate", "av", "bitsandbytes", "diffusers", "matplotlib", "peft", "scipy", "transformers"}
TORCHLESS = {"", "dataset", "demo", "glitch", "metrics"}
# What corrupts tensors is made of them; the rest of `glitch` loads without torch.
ON_TENSORS = ("glitch/activations/", "glitch/conditioning/", "glitch/latents/", "glitch/loras/")
NODE_IDS = {
    *("GlitchLoadDataset", "GlitchDatasetFromImages", "GlitchDatasetToImages", "GlitchTriggerWord"),
    *("GlitchFrameDataset", "GlitchCorruptDataset", "GlitchPreviewDataset", "GlitchPromptSet", "GlitchRecipe"),
    *("GlitchTrain", "GlitchOpenRun", "GlitchApplyCheckpoint", "GlitchSweep", "GlitchGrid", "GlitchPlotTraining"),
    "GlitchTextDrift",
    *("GlitchSaveLora", "GlitchSaveEmbedding", "GlitchLoadDemoModel", "GlitchDemoDataset", "GlitchCorruptImage"),
    *("GlitchCorruptCaptions", "GlitchDatasetPreset", "GlitchRecipePreset"),
    *("GlitchRecipeGlitches", "GlitchRecipeTextEncoder", "GlitchRecipeEmbedding"),
    *("GlitchCorruptLatent", "GlitchCorruptConditioning", "GlitchVaeLoss"),
    *("GlitchLoadLora", "GlitchBendLora", "GlitchTransplantLora", "GlitchBlendLoras", "GlitchBendModel"),
    *("GlitchSelectItems", "GlitchMergeDatasets", "GlitchSaveDataset", "GlitchAuditDataset"),
    *("GlitchMeasureImages", "GlitchScoreSweep", "GlitchInspectTrigger"),
}


def package_files() -> list[Path]:
    return [ROOT / "__init__.py", *(path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py")))]


def own_files() -> list[Path]:
    folders = ("scripts", "benchmarks", "tests")
    return package_files() + [path for name in folders for path in sorted((ROOT / name).rglob("*.py"))]


def relative_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """Yield (module, at module level?, line) for each import; ours are written from the root, e.g. ``.host.models``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    here = path.relative_to(ROOT).parent.parts
    for node in ast.walk(tree):
        early = id(node) not in inside
        if isinstance(node, ast.Import):
            yield from ((alias.name, early, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or "", early, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1]
            parts = (*base, *(node.module.split(".") if node.module else ()))
            if node.module:
                yield "." + ".".join(parts), early, node.lineno
            else:
                yield from (("." + ".".join((*parts, alias.name)), early, node.lineno) for alias in node.names)


def problems_of_imports(path: Path) -> list[str]:
    here = path.relative_to(ROOT).parts[0] if path.parent != ROOT else ""
    found = []
    for module, early, line in imports(path):
        where = f"{relative_name(path)}:{line}"
        top = module.lstrip(".").split(".")[0]
        if module.startswith("."):
            allowed = MAY_IMPORT[here] | ({"host"} if relative_name(path) == RENDERER else set())
            if top != here and top not in allowed:
                found.append(f"{where}: {here or 'the entry point'} must not import {top}")
            if here == "host" and top != "host" and module.lstrip(".") not in PLAIN:
                found.append(f"{where}: host may know only plain types of the others, not {module}")
            continue
        if top in (*PACKAGES, "glitch_lora") and not (top == "nodes" and here == "host"):
            found.append(f"{where}: own modules are imported relatively, not as {module}")
        allowed_comfyui = here == "host" or (here == "nodes" and module.startswith("comfy_api.latest"))
        if top in COMFYUI and not allowed_comfyui:
            found.append(f"{where}: only host imports ComfyUI, not {here or 'the entry point'} ({module})")
        if top in LATE and early:
            found.append(f"{where}: {top} is imported when it is needed, not when the pack is loaded")
        tensors = relative_name(path).startswith(ON_TENSORS)
        if top in ("torch", "torchvision") and here in TORCHLESS and early and not tensors:
            found.append(f"{where}: {here or 'the entry point'} works without torch")
    return found


def test_who_may_know_whom():
    assert [problem for path in package_files() for problem in problems_of_imports(path)] == []


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("training/x.py", "from ..nodes import training", "must not import nodes"),
        ("dataset/x.py", "from ..glitch import jpeg", "must not import glitch"),
        ("training/x.py", "def f():\n    import comfy.utils", "only host imports ComfyUI"),
        ("training/x.py", "import peft", "when it is needed"),
        ("glitch/pictures/x.py", "import torch", "works without torch"),
        ("demo/x.py", "from ..host import demo_model", "must not import host"),
        ("host/x.py", "from ..training import loop", "only plain types"),
        ("sampling/x.py", "from ..host import models", "must not import host"),
        ("metrics/x.py", "from ..dataset import seeds", "must not import dataset"),
        ("metrics/x.py", "import scipy.ndimage", "when it is needed"),
        ("sampling/x.py", "from dataset.seeds import generator", "imported relatively"),
    ],
)
def test_the_rule_sees_a_breach(tmp_path, monkeypatch, file, text, complaint):
    """The test above could not fail if the rules did not see these."""
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert any(complaint in problem for problem in problems_of_imports(path))


def test_no_code_is_made_from_text_and_no_shell_is_used():
    """No eval, exec, pickle, shell: files and prompts from strangers are data."""
    names = {"eval", "exec", "compile", "__import__"}
    attributes = {("os", "system"), ("os", "popen"), ("torch", "load"), ("pickle", "load"), ("pickle", "loads")}
    found = []
    for path in package_files() + sorted((ROOT / "scripts").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                bad = {"pickle", "dill", "cloudpickle", "shelve", "marshal"} & set(modules)
            elif isinstance(node, ast.Call):
                called = node.func
                bad = {called.id} & names if isinstance(called, ast.Name) else set()
                if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                    forbidden = (called.value.id, called.attr) in attributes and not _loads_only_tensors(node)
                    bad = {called.attr} if forbidden else set()
                bad |= {"shell"} & {keyword.arg for keyword in node.keywords}
                bad |= {"allow_pickle"} & {keyword.arg for keyword in node.keywords}
            else:
                continue
            found += [f"{relative_name(path)}:{node.lineno}: {name}" for name in sorted(bad)]
    assert found == []


def _loads_only_tensors(call: ast.Call) -> bool:
    """Say whether a call is ``torch.load(..., weights_only=True)``, written out."""
    return ast.unparse(call.func) == "torch.load" and any(
        keyword.arg == "weights_only" and ast.unparse(keyword.value) == "True" for keyword in call.keywords
    )


def test_no_unfinished_work_and_no_drawer_names():
    """Files are named after what they hold; no note says that something is still to be done."""
    unfinished = re.compile(r"\b(" + "TO" + "DO|FIX" + "ME" + r")\b")
    drawers = {"utils", "util", "helpers", "helper", "misc", "common", "manager", "handler"}
    for path in own_files():
        assert not unfinished.search(path.read_text(encoding="utf-8")), relative_name(path)
        assert not drawers & set(path.stem.split("_")), relative_name(path)


def _tool(*command: str, cwd: Path = ROOT, **variables: str) -> None:
    environment = os.environ | variables
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing():
    _tool("ruff", "check", "--no-cache", ".")


def test_ruff_would_format_nothing():
    _tool("ruff", "format", "--no-cache", "--check", "--diff", ".")


@pytest.mark.slow
def test_mypy_finds_nothing_in_the_pack(tmp_path):
    """The folder's name need not be an identifier, so mypy sees it through a link that is one."""
    (tmp_path / "glitch_lora").symlink_to(ROOT, target_is_directory=True)
    packages = [word for name in PACKAGES for word in ("-p", f"glitch_lora.{name}")]
    config = ("--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "cache"))
    _tool("mypy", *config, *packages, cwd=tmp_path)


@pytest.mark.slow
def test_mypy_finds_nothing_in_the_scripts(tmp_path):
    config = ("--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path / "cache"))
    files = [str(path) for name in ("scripts", "benchmarks") for path in sorted((ROOT / name).glob("*.py"))]
    # The scripts import their neighbours by bare names; the folder's own name may be no identifier.
    bases = os.pathsep.join(str(ROOT / name) for name in ("scripts", "benchmarks", "tests"))
    _tool("mypy", *config, "--explicit-package-bases", *files, cwd=tmp_path, MYPYPATH=bases)


def test_requirements_stand_in_both_places_without_pins_or_torch():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert requirements == project["project"]["dependencies"]
    for requirement in requirements:
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", requirement), requirement
        assert not requirement.startswith("torch")
    assert project["tool"]["comfy"]["requires-comfyui"] == ">=0.30.0"


# What every node offers


@pytest.fixture(scope="module")
def nodes() -> list:
    import glitch_lora

    async def list_nodes() -> list:
        return await (await glitch_lora.comfy_entrypoint()).get_node_list()

    return asyncio.run(list_nodes())


def _inputs(inputs: list) -> Iterator:
    """Yield every input of a schema, also those inside dynamic ones."""
    for one in inputs:
        yield one
        for option in getattr(one, "options", None) or ():
            yield from _inputs(getattr(option, "inputs", ()))
        template = getattr(one, "template", None)
        if template is not None and hasattr(template, "input"):
            yield template.input


def test_nodes_of_the_spine_are_there(nodes):
    ids = [node.GET_SCHEMA().node_id for node in nodes]
    assert len(ids) == len(set(ids))
    assert set(ids) >= NODE_IDS


def test_every_node_explains_itself(nodes):
    problems = []
    for node in nodes:
        schema = node.GET_SCHEMA()
        missing = [name for name in ("display_name", "description", "search_aliases") if not getattr(schema, name)]
        if not schema.category.startswith("Glitch LoRA/"):
            missing.append("category")
        missing += [f"tooltip of input {one.id}" for one in _inputs(schema.inputs) if not one.tooltip]
        missing += [f"tooltip of output {one.display_name or one.id}" for one in schema.outputs if not one.tooltip]
        page = ROOT / "web" / "docs" / f"{schema.node_id}.md"
        if not page.is_file() or len(page.read_text(encoding="utf-8")) < 300:
            missing.append("help page")
        problems += [f"{schema.node_id}: {name}" for name in missing]
    assert problems == []


def test_help_pages_belong_to_nodes(nodes):
    ids = {node.GET_SCHEMA().node_id for node in nodes}
    assert {page.stem for page in (ROOT / "web" / "docs").glob("*.md")} == ids


def test_help_pages_list_the_operations_there_are():
    import operation_help

    assert len(operation_help.pages()) >= 2
    stale = [
        page.name
        for page in operation_help.pages()
        if operation_help.with_lists(page.read_text("utf-8")) != page.read_text("utf-8")
    ]
    assert stale == [], "run: python3 scripts/operation_help.py"


def test_help_pages_name_every_input(nodes):
    problems = []
    for node in nodes:
        schema = node.GET_SCHEMA()
        page = (ROOT / "web" / "docs" / f"{schema.node_id}.md").read_text(encoding="utf-8")
        shown = [one.display_name or one.id for one in _inputs(schema.inputs)]
        problems += [f"{schema.node_id}: {name}" for name in shown if name not in page]
    assert problems == []


def test_registry_scanner_can_read_the_ids(nodes):
    """ComfyUI-Manager reads ids from the source: a literal in a class whose direct base is io.ComfyNode."""
    literal = set()
    for path in (ROOT / "nodes").glob("*.py"):
        for cls in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(cls, ast.ClassDef) and "io.ComfyNode" in {ast.unparse(base) for base in cls.bases}:
                literal |= {
                    keyword.value.value
                    for call in ast.walk(cls)
                    if isinstance(call, ast.Call)
                    for keyword in call.keywords
                    if keyword.arg == "node_id" and isinstance(keyword.value, ast.Constant)
                }
    assert literal == {node.GET_SCHEMA().node_id for node in nodes}


LOAD_PACK = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
import comfy.cli_args
comfy.cli_args.args.cpu = True
import nodes, server
before = set(sys.modules)
assert asyncio.run(nodes.load_custom_node(sys.argv[2])), "the pack did not load"
print(sorted({"peft", "diffusers", "bitsandbytes", "accelerate"} & (set(sys.modules) - before)))
"""


@pytest.mark.slow
def test_loading_the_pack_loads_no_training_library():
    """In a process of its own, through ComfyUI's own loader of custom nodes."""
    import os

    command = [sys.executable, "-c", LOAD_PACK, os.environ["COMFYUI_PATH"], str(ROOT)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(command, cwd=os.environ["COMFYUI_PATH"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stdout
