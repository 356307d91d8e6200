"""The README keeps its promises: the tree is today's, every node is named, every picture and command is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def test_the_tree_is_todays() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("the tree is read from git, and this copy of the pack is not a checkout")
    done = subprocess.run([sys.executable, "-E", ROOT / "scripts" / "tree.py", "--check"])
    assert done.returncode == 0, "run python3 scripts/tree.py"


def test_every_node_is_in_the_table() -> None:
    titles = [page.read_text("utf-8").lstrip("# ").splitlines()[0] for page in (ROOT / "web" / "docs").glob("*.md")]
    assert len(titles) == len(set(titles)) >= 37
    assert [title for title in titles if title not in README] == []


def test_every_file_it_names_is_there() -> None:
    named = re.findall(r"(?:\(|`)((?:docs|tests|scripts|benchmarks|glitch|host|workflows)/[\w./-]*\w)", README)
    assert len(set(named)) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_both_commands_and_both_installs_are_named() -> None:
    for text in ("python3 scripts/demo.py", "python3 scripts/test.py", "pip install -r", "custom_nodes"):
        assert text in README
