"""Write the lists of operations in the help pages anew: ``python3 scripts/operation_help.py``, from the registry.

A page has a list where a line ``<!-- operations: SUBJECT ... -->`` stands, up to ``<!-- end of operations -->``.
"""

import re
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "web" / "docs"
_LIST = re.compile(r"(<!-- operations: ([\w ]+) -->\n)(.*?)(<!-- end of operations -->)", re.DOTALL)


def main() -> int:
    """Rewrite every page that has a list; return 0."""
    from rerun import again_in_environment, in_environment

    if not in_environment():
        return again_in_environment(str(Path(__file__).resolve()))
    from as_package import register_pack

    register_pack()
    for page in pages():
        page.write_text(with_lists(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(page.relative_to(ROOT))
    return 0


def pages() -> list[Path]:
    """Return the help pages that have a list of operations."""
    return [page for page in sorted(PAGES.glob("*.md")) if _LIST.search(page.read_text(encoding="utf-8"))]


def with_lists(text: str) -> str:
    """Return a page's text with its lists as the registry has them now."""
    return _LIST.sub(lambda found: found[1] + _listed(found[2].split()) + found[4], text)


def _listed(subjects: list[str]) -> str:
    from glitch_lora.glitch.registry import all_operations

    lines: list[str] = []
    for subject in subjects:
        for family, members in groupby(all_operations(subject), lambda operation: operation.family):
            lines += [f"\n**{family.capitalize()}**\n", *(_line(operation) for operation in members)]
    return "\n".join(lines) + "\n\n"


def _line(operation: Any) -> str:
    settings = "; ".join(_setting(parameter) for parameter in operation.parameters)
    summary = operation.summary.rstrip(".")
    return f"- `{operation.name}`: {summary}.{f' {settings}.' if settings else ''}"


def _setting(parameter: Any) -> str:
    allowed = " / ".join(parameter.choices) if parameter.choices else parameter.allowed()
    return f"**{parameter.name}** ({allowed}): {parameter.help}"


if __name__ == "__main__":
    sys.exit(main())
