"""The page of the word studies: tables and grids from finished arms."""

from collections.abc import Callable, Sequence
from typing import Any

from studies import ROOT, Studies, interval, write_tables
from word_studies_questions import old_questions, questions
from word_studies_ways import KNOWN, NONCE, PACE_OF, SEEDS, TRAINED, WAYS

LOSS_STEPS = (100, 170)  # all ways get as far, with the same pictures and noise as the others of their seed
CONTRASTS = (
    ("encoder", "lora"),
    ("encoder", "short"),
    ("pivotal", "lora"),
    ("pivotal", "in-turn"),
    ("pivotal", "fixed"),
)
SHOWN = (0, 7, 14)  # questions in a grid, one on every ground


def moved(asked: dict[str, Any], base: dict[str, Any], goal: float) -> Any:
    """Return, for each question, how much of the way from the base model's mean to the dataset's the style has come."""
    import numpy as np

    return (np.asarray(asked["style"]) - np.asarray(base["style"])) / (goal - np.mean(base["style"]))


def _as_asked(row: dict[str, Any], base: dict[str, Any]) -> Any:
    """Say, for each question, whether content is right with and without the word, and the style there and not there.

    The style is there from half of the way on.
    """
    import numpy as np

    styled, plain = (moved(row[group], base[group], base["goal"]) >= 0.5 for group in ("with", "without"))
    return np.asarray(row["with"]["right"]) & np.asarray(row["without"]["right"]) & styled & ~plain


QUANTITIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], Any]] = {
    "style with the word": lambda row, base: moved(row["with"], base["with"], base["goal"]),
    "style without it": lambda row, base: moved(row["without"], base["without"], base["goal"]),
    "selectivity": lambda row, base: (
        QUANTITIES["style with the word"](row, base) - QUANTITIES["style without it"](row, base)
    ),
    "colour and shape right": lambda row, base: row["with"]["right"],
    "right without the word": lambda row, base: row["without"]["right"],
    "as asked, both": lambda row, base: _as_asked(row, base),
    f"style in plain {KNOWN}s": lambda row, base: moved(row["old"], base["old"], base["goal"]),
    f"{KNOWN}s right": lambda row, base: row["old"]["right"],
}
OF_WAYS, OF_WORDS = list(QUANTITIES)[:6], [list(QUANTITIES)[n] for n in (0, 1, 2, 3, 5, 6, 7)]


def document(studies: Studies, rows: dict[str, dict[str, Any]]) -> None:
    """Write the tables and the grids from the rows that are there, by arm."""
    page = ROOT / "docs" / "word-studies.md"
    tables = (_ways_table, _contrasts, _words_table, _journeys, _tuning_table)
    write_tables(page, [line for table in tables for line in (*table(rows), "")][:-1])
    _grids(studies, rows)
    studies.document(("ways", "triggers"), "words")


def _found(rows: dict[str, Any], word: str, way: str, seeds: Sequence[int] = SEEDS) -> list[dict[str, Any]]:
    """Return the rows of a way's trainings."""
    return [row for seed in seeds if (row := rows.get(f"{word}-{way}-{seed}"))]


def _values(rows: dict[str, Any], word: str, way: str, quantity: str, seeds: Sequence[int] = SEEDS) -> Any:
    """Return a quantity as [trainings, questions]."""
    import numpy as np

    base = rows[f"base-{word}"]
    return np.asarray([QUANTITIES[quantity](row, base) for row in _found(rows, word, way, seeds)], float)


def _heads(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def _ways_table(rows: dict[str, Any]) -> list[str]:
    lines = _heads("way", "trainings", "steps", "seconds a step", "seconds taken", *OF_WAYS)
    base = rows[f"base-{NONCE}"]
    kept = [_interval(base[group]["right"]) for group in ("with", "without")]
    lines.append(f"| before training | | | | | 0% | 0% | 0% | {' | '.join(kept)} | 0% |")
    for name, way in WAYS.items():
        found = _found(rows, NONCE, name)
        if found:
            pace = rows["pace"][PACE_OF.get(name, name)]
            about = f"{len(found)} | {found[0]['steps']} | {pace:.3f} | {_mean_of(found, 'train_seconds', '.0f')}"
            cells = [_interval(_values(rows, NONCE, name, quantity)) for quantity in OF_WAYS]
            lines.append(f"| {way.title} | {about} | {' | '.join(cells)} |")
    right_in_dataset = _interval(base["dataset right"])
    return [*lines, f"| the dataset's own pictures | | | | | 100% | | | {right_in_dataset} | | |"]


def _contrasts(rows: dict[str, Any]) -> list[str]:
    """Return what one way has over another, training by training and question by question."""
    lines = _heads("way", "less", *OF_WAYS)
    for one, other in CONTRASTS:
        seeds = [seed for seed in SEEDS if all(f"{NONCE}-{name}-{seed}" in rows for name in (one, other))]
        if seeds:
            both = [[_values(rows, NONCE, name, each, seeds) for each in OF_WAYS] for name in (one, other)]
            cells = [_signed(first - second) for first, second in zip(*both, strict=True)]
            lines.append(f"| {WAYS[one].title} | {WAYS[other].title} | {' | '.join(cells)} |")
    return lines


def _words_table(rows: dict[str, Any]) -> list[str]:
    lines = _heads("way", "word", *OF_WORDS)
    for word in (NONCE, KNOWN):
        base = rows[f"base-{word}"]
        before = [_interval(QUANTITIES[quantity](base, base)) for quantity in OF_WORDS]
        lines.append(f"| before training | {word} | {' | '.join(before)} |")
    for name in (way for word, way in TRAINED if word == KNOWN and _found(rows, KNOWN, way)):
        seeds = [seed for seed in SEEDS if all(f"{word}-{name}-{seed}" in rows for word in (NONCE, KNOWN))]
        both = {word: [_values(rows, word, name, each, seeds) for each in OF_WORDS] for word in (NONCE, KNOWN)}
        for word, values in both.items():
            lines.append(f"| {WAYS[name].title} | {word} | {' | '.join(map(_interval, values))} |")
        differences = [known - made_up for made_up, known in zip(*both.values(), strict=True)]
        lines.append(f"| | {KNOWN} less {NONCE} | {' | '.join(map(_signed, differences))} |")
    return lines


def _journeys(rows: dict[str, Any]) -> list[str]:
    """Return how far each way fitted the pictures, and what became of the words' vectors; means over trainings."""
    lines = _heads("way", "word", f"loss, steps {LOSS_STEPS[0] + 1} to {LOSS_STEPS[1]}", "vectors", "moved", "length")
    for word, name in TRAINED:
        found = _found(rows, word, name)
        if found:
            loss, moved, length = (_mean_of(found, key) for key in ("loss", "word moved", "word length"))
            vectors = f"{found[0]['settings'][0]:g}" if moved else ""
            lines.append(f"| {WAYS[name].title} | {word} | {loss} | {vectors} | {moved} | {length} |")
    return lines


def _mean_of(found: list[dict[str, Any]], key: str, how: str = ".3f") -> str:
    return format(sum(row[key] for row in found) / len(found), how) if key in found[0] else ""


def _tuning_table(rows: dict[str, Any]) -> list[str]:
    lines = _heads("way", "settings tried", "style with the word", "without it", "right", "score")
    for name, row in rows.items():
        if name.startswith("tune-"):
            settings = ", ".join(f"{number:g}" for number in row["settings"])
            shares = " | ".join(f"{_percent(row[key])}" for key in ("reached", "leaked", "kept"))
            best = max(r["score"] for r in rows.values() if r.get("way") == row["way"] and "score" in r)
            score = f"**{row['score']:.2f}**" if row["score"] == best else f"{row['score']:.2f}"
            lines.append(f"| {WAYS[row['way']].title} | {settings} | {shares} | {score} |")
    return lines


def _interval(values: Any) -> str:
    found = [_percent(number) for number in interval(values)]
    return f"{found[0]} ({found[1]} to {found[2]})"


def _percent(number: float) -> str:
    return f"{round(number, 2) + 0.0:.0%}"  # never "-0%"


def _signed(values: Any) -> str:
    found = [f"{round(number, 2) + 0.0:+.0%}" for number in interval(values)]
    return f"{found[0]} ({found[1]} to {found[2]})"


def _grids(studies: Studies, rows: dict[str, Any]) -> None:
    import numpy as np

    asked, old = [[group[n].prompt for n in SHOWN] for group in (questions(), old_questions())]
    columns = [f"{NONCE}, {prompt}" for prompt in asked] + asked
    labels = {"before training": f"base-{NONCE}"}
    labels |= {way.title: f"{NONCE}-{name}-0" for name, way in WAYS.items() if _found(rows, NONCE, name)}
    kept = [np.load(studies.work / f"pictures-{name}.npy", allow_pickle=False) for name in labels.values()]
    cells = [picture for groups in kept for group in groups[:2] for picture in group]
    studies.grid("ways", "The same time for each way, the first training of each", columns, list(labels), cells)
    labels = {f"before training, {KNOWN}": f"base-{KNOWN}"}
    names = [way for word, way in TRAINED if word == KNOWN and _found(rows, KNOWN, way)]
    labels |= {f"{WAYS[name].title}, {word}": f"{word}-{name}-0" for name in names for word in (NONCE, KNOWN)}
    kept = [np.load(studies.work / f"pictures-{name}.npy", allow_pickle=False) for name in labels.values()]
    cells = [picture for groups in kept for group in (groups[0], groups[2]) for picture in group]
    columns = [f"WORD, {prompt}" for prompt in asked] + old
    studies.grid("triggers", f"{NONCE} and {KNOWN} as the word of the style", columns, list(labels), cells)
