"""Write the tree in README.md anew: one line per file, from the file's own first sentence.

``python3 scripts/tree.py`` rewrites the block between the two markers; ``--check`` only says whether it is up to date.
"""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
START, END = "<!-- tree: scripts/tree.py -->", "<!-- end of tree -->"
ORDER = (
    "nodes",
    "host",
    "dataset",
    "glitch",
    "training",
    "metrics",
    "sampling",
    "demo",
    "web",
    "workflows",
    "subgraphs",
    "scripts",
    "benchmarks",
    "tests",
)
PLAIN = {
    "README.md": "this page",
    "LICENSE": "GPL-3.0, as ComfyUI",
    "pyproject.toml": "the pack's registry entry; settings of pytest, ruff and mypy",
    "requirements.txt": "what ComfyUI's Python needs besides ComfyUI's own",
    "requirements-demo.txt": "what the demo needs besides",
    "requirements-test.txt": "what the tests need besides",
    "demo/model/glitch-demo.safetensors": "the demo model's weights, written by scripts/train_demo_model.py",
    ".ci/run": "what a build machine runs: the test command",
}


def main() -> int:
    """Return 0, or 1 when `--check` finds the tree out of date."""
    text = README.read_text("utf-8")
    head, rest = text.split(START)
    new = f"{head}{START}\n```\n{tree()}\n```\n{END}{rest.split(END)[1]}"
    if "--check" in sys.argv:
        return int(new != text)
    README.write_text(new, "utf-8")
    return 0


def tree() -> str:
    """Return the tree: top-level files, then each folder with its files."""
    files = sorted(_tracked())
    top = [path for path in files if "/" not in path and not path.startswith(".gitignore")]
    lines = [_line(path, path) for path in [*top, ".ci/run"]]
    for folder in ORDER:
        inside = [path for path in files if path.startswith(f"{folder}/")]
        if inside:
            lines += ["", f"{folder}/"]
            lines += [_line(f"  {path.removeprefix(folder + '/')}", path) for path in inside if _shown(path)]
    return "\n".join(line.rstrip() for line in lines)


def _tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    return [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]


def _shown(path: str) -> bool:
    return not path.endswith((".jpg", ".png")) and not (path.endswith("__init__.py") and path.count("/") > 1)


def _line(label: str, path: str) -> str:
    return f"{label:<34} {_about(path)}"


def _about(path: str) -> str:
    if path in PLAIN:
        return PLAIN[path]
    text = (ROOT / path).read_text("utf-8")
    if path.endswith(".py"):
        return _first_sentence(ast.get_docstring(ast.parse(text)) or "")
    if path.endswith(".js"):
        match = re.match(r"\s*(?:/\*\*?|//)\s*(.*?)(?:\*/|\n\n|\n[^/ *])", text, re.S)
        return _first_sentence(re.sub(r"\n\s*(?:\*|//)?\s*", " ", match[1])) if match else ""
    if path.endswith(".md"):
        return "help page: " + text.lstrip("# ").splitlines()[0]
    if path.startswith("subgraphs/"):
        return "blueprint: a preset as one node, both sides on one dial"
    if path.endswith(".json"):
        return f"example workflow, {len(json.loads(text).get('nodes', ()))} nodes"
    return ""


def _first_sentence(text: str) -> str:
    line = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s", line)[0].rstrip(".")


if __name__ == "__main__":
    raise SystemExit(main())
