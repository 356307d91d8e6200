"""An audit for people: as text, as a table, and on contact sheets."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Sequence

from PIL import Image

from .audit import Audit
from .audit_colours import backgrounds, colour_name, palette_of
from .audit_finding import KINDS, Finding
from .report import counted
from .sheet import Mark, contact_sheets

_SHOWN = 12
_COLOURS = {"defect": (239, 68, 68), "warning": (245, 158, 11), "advice": (96, 165, 250)}
_COLUMNS = ("severity", "kind", "number", "name", "detail", "fix")


def audit_report(audit: Audit) -> str:
    """Return what was found, kind by kind, the palette, and what to do; several lines."""
    counts = Counter(found.severity for found in audit.findings)
    total = f"{counted(counts['defect'], 'defect')}, {counted(counts['warning'], 'warning')}, {counts['advice']} advice"
    lines = [f"{counted(len(audit.dataset), 'picture')}: {total}.", _trigger_line(audit)]
    for kind in KINDS:
        lines += _kind_lines(kind, [found for found in audit.findings if found.kind == kind])
    return "\n".join([*lines, _palette_line(audit), _background_line(audit)])


def audit_table(audit: Audit, markdown: bool = False) -> str:
    """Return one row for each finding, as CSV or as a Markdown table; numbers count from 1 as on contact sheets."""
    rows = [_row(found) for found in _sorted(audit.findings)]
    if markdown:
        lines = [_COLUMNS, ("---",) * len(_COLUMNS), *rows]
        return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
    return text.getvalue()


def audit_sheets(
    audit: Audit, columns: int = 4, cell: int = 256, limit: int = 32, watch: Callable[[int, int], None] | None = None
) -> list[Image.Image]:
    """Return contact sheets, the flagged pictures first, with a frame, and their findings under them.

    Red: a defect, amber: a warning, blue: advice. Pictures that cannot be read any more are left out.
    """
    found: dict[int, list[Finding]] = {}
    for finding in _sorted(audit.findings):
        if finding.index is not None:
            found.setdefault(finding.index, []).append(finding)
    readable = [index for index, facts in enumerate(audit.facts) if facts is not None]
    order = sorted(readable, key=lambda index: (_gravity(found.get(index, [])), index))
    marks = {
        index: Mark(_COLOURS[those[0].severity], ", ".join(dict.fromkeys(one.kind for one in those)))
        for index, those in found.items()
    }
    return contact_sheets(audit.dataset, columns, cell, limit=limit, watch=watch, order=order, marks=marks)


def _gravity(findings: Sequence[Finding]) -> int:
    return min((list(_COLOURS).index(found.severity) for found in findings), default=len(_COLOURS))


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    kinds = list(KINDS)
    return sorted(findings, key=lambda found: (_gravity([found]), kinds.index(found.kind), found.index or 0))


def _trigger_line(audit: Audit) -> str:
    if not audit.trigger:
        return "No trigger word is known: captions were not searched for one."
    missing = sum(found.kind == "no trigger" for found in audit.findings)
    return f"Trigger {audit.trigger!r}: in {len(audit.dataset) - missing} of {len(audit.dataset)} captions."


def _kind_lines(kind: str, findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return []
    lines = [f"{KINDS[kind].severity.capitalize()}: {kind} ({len(findings)}): {KINDS[kind].fix}."]
    for found in findings[:_SHOWN]:
        number = f"{found.index + 1}. " if found.index is not None else ""
        lines.append(f"  {number}{found.name}{': ' if found.name else ''}{found.detail}")
    return [*lines, f"  and {len(findings) - _SHOWN} more"] if len(findings) > _SHOWN else lines


def _palette_line(audit: Audit) -> str:
    shares = palette_of([facts for facts in audit.facts if facts is not None])[:6]
    return "Palette: " + (", ".join(f"{name} {share:.0%}" for name, share in shares) or "none") + "."


def _background_line(audit: Audit) -> str:
    facts = [fact for fact in audit.facts if fact is not None]
    found = backgrounds(facts)
    names = Counter(colour_name(found.colours[place]) for place in found.plain)
    shown = f": {', '.join(f'{name} {count}' for name, count in names.most_common(6))}" if names else ""
    return f"Plain backgrounds: {len(found.plain)} of {len(facts)}{shown}."


def _row(found: Finding) -> tuple[str, ...]:
    number = "" if found.index is None else str(found.index + 1)
    return found.severity, found.kind, number, found.name, found.detail, found.fix


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
