"""Text drift in words and as tables."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from math import isnan
from statistics import fmean

from .probes import LEARNT
from .text_drift import ProbeDrift, TextDrift
from .word_drift import START, VectorDrift

FORMATS = ("CSV", "Markdown")
_MOST = 8
_PROBE_COLUMNS = (
    *("step", "encoder", "class", "probe", "sequence_drift", "own_drift", "pooled_drift"),
    *("neighbours_kept", "neighbours_gone", "neighbours_new", "neighbours_before", "neighbours_after"),
)
_WORD_COLUMNS = ("step", "encoder", "word", "vector", "length", "moved", "cosine_to_start", "near", "start")
_JOINED = "; "
# Of the distance between two texts: what the mean drift is called, in the report and nowhere else.
_VERDICTS = ((0.01, "hardly moved"), (0.1, "moved a little"), (0.5, "moved clearly"))
_FAR = "left their places: they moved half as far as texts lie apart, or farther"


def drift_report(found: TextDrift, words: Sequence[VectorDrift]) -> str:
    """Return what moved and how far at the last step, encoder by encoder, then the learnt words."""
    last = found.steps[-1]
    steps = f"step {last}" if len(found.steps) == 1 else f"step {last}, the last of {len(found.steps)}"
    parts = [[f"Text drift of {found.run} at {steps}, LoRA at strength 1, against the model before training."]]
    parts += [_encoder(found, encoder, last) for encoder in found.encoders]
    if words:
        head = "Vectors of the learnt words, which before training were ordinary text:"
        parts.append([head, *_words(words, last)])
    parts.append([notes(found)])
    return "\n\n".join("\n".join(lines) for lines in parts)


def notes(found: TextDrift) -> str:
    """Return what the figures are, for these encoders."""
    lines = [
        "Drift is 1 - cosine: 0 unmoved, 1 at right angles; the mean over a text's own tokens (sequence), as start, "
        "end and padding would outweigh a short text."
    ]
    if found.pooled:
        names = [f"{name} ({'projected' if name == 'clip_g' else 'not projected'})" for name in found.pooled]
        lines.append(f"Pooled: of the output at the end token, {' and '.join(names)}.")
    lines.append("Neighbours: by the mean of a text's tokens, less what all texts share.")
    return " ".join(lines)


def _encoder(found: TextDrift, encoder: str, step: int) -> list[str]:
    rows = found.at(step, encoder)
    if any(isnan(row.sequence) for row in rows):
        return [f"{encoder} gives no finite numbers any more: the training has blown up, take an earlier checkpoint."]
    plain = [row for row in rows if not row.probe.learnt]
    if not plain:
        lines = []
    elif all(row.sequence == 0 and not row.pooled > 0 for row in plain):
        lines = [f"{encoder} is as it was: no text without a learnt word has moved."]
    else:
        lines = [_verdict(found, encoder, step), *_plain(found, encoder, step)]
    return lines + [_learnt(row) for row in rows if row.probe.learnt]


def _verdict(found: TextDrift, encoder: str, step: int) -> str:
    mean = found.mean(step, encoder)
    share = found.share(mean, encoder)
    said = next((name for limit, name in _VERDICTS if share < limit), _FAR)
    return (
        f"{encoder}: words have {said}. Mean drift {figure(mean)}, {percent(share)} of the "
        f"{figure(found.spacing[encoder, 'sequence'])} between two texts; {percent(found.common_share(step, encoder))} "
        f"of it is the same for all.{_pooled(found, encoder, step)}"
    )


def _pooled(found: TextDrift, encoder: str, step: int) -> str:
    if encoder not in found.pooled:
        return ""
    mean, apart = found.mean(step, encoder, "pooled"), found.spacing[encoder, "pooled"]
    return f" Pooled {figure(mean)}, {percent(found.share(mean, encoder, 'pooled'))} of {figure(apart)}."


def _plain(found: TextDrift, encoder: str, step: int) -> list[str]:
    most = found.most(step, encoder)
    kinds = dict.fromkeys(row.probe.kind for row in most)
    means = {kind: found.mean(step, encoder, kind=kind) for kind in kinds}
    lines = [f"  Moved most: {_listed(f'{row.probe.text} {figure(row.sequence)}' for row in most[:_MOST])}."]
    if len(kinds) > 1:
        by_mean = sorted(means, key=lambda kind: -means[kind])
        lines.append(f"  By class: {_listed(f'{kind} {figure(means[kind])}' for kind in by_mean)}.")
    changed = [row for row in most if row.kept < 1]
    changed.sort(key=lambda row: (row.nearest[:1] == row.before[:1], row.kept))
    mean = fmean(row.kept for row in most)
    lines.append(f"  Neighbours: {len(changed)} of {len(most)} texts have others, {percent(mean)} kept (mean Jaccard).")
    return lines + [f"  {sentence(row)}." for row in changed[:_MOST]]


def sentence(row: ProbeDrift) -> str:
    """Return what has become of a probe's neighbours."""
    now, was = row.nearest[:1], row.before[:1]
    if not now or not was:
        return f"'{row.probe.text}' has no neighbours"
    if now != was:
        return f"'{row.probe.text}' is now nearest to '{now[0]}' (before: '{was[0]}')"
    came = f", beside it now {_listed(row.came)}" if row.came else ""
    return f"'{row.probe.text}' is nearest to '{now[0]}' as before{came}"


def _learnt(row: ProbeDrift) -> str:
    return (
        f"  {row.probe.text} itself: drift {figure(row.sequence)}, near {_listed(row.nearest) or 'nothing'} (before: "
        f"{_listed(row.before) or 'nothing'})."
    )


def _words(words: Sequence[VectorDrift], last: int) -> list[str]:
    lines = []
    for vector in (each for each in words if each.step == last):
        since = "its start" if vector.since == START else f"step {vector.since}"
        near = _listed(f"{one.word} {one.cosine:.2f}" for one in vector.near)
        lines.append(
            f"  {vector.token}, {vector.encoder} vector {vector.number}: {vector.length:.2f} times the median length "
            f"of the table, {vector.moved:.2f} from {since} (cosine {vector.cosine:.2f}), near {near}."
        )
    return lines


def probe_table(found: TextDrift, style: str) -> str:
    """Return every probe, step and encoder as CSV, or the last step as a Markdown table for each encoder."""
    if style == FORMATS[0]:
        return _csv(_PROBE_COLUMNS, (_cells(row, _exact, _JOINED) for row in found.rows))
    parts = []
    for encoder in found.encoders:
        rows = [_cells(row, figure, ", ") for row in _ordered(found, encoder)]
        kept = [place for place, name in enumerate(_PROBE_COLUMNS) if name not in ("step", "encoder")]
        head = f"{encoder}, step {found.steps[-1]}, common to all: {figure(found.common[found.steps[-1], encoder])}"
        parts.append(f"{head}\n\n{_markdown(_PROBE_COLUMNS, rows, kept)}")
    return "\n\n".join(parts)


def word_table(words: Sequence[VectorDrift], style: str) -> str:
    """Return every vector of the learnt words at every step, 0 being the start; "" without words."""
    rows = [_word_cells(vector, _exact if style == FORMATS[0] else figure) for vector in words]
    if not rows:
        return ""
    whole = list(range(len(_WORD_COLUMNS)))
    return _csv(_WORD_COLUMNS, rows) if style == FORMATS[0] else _markdown(_WORD_COLUMNS, rows, whole)


def _ordered(found: TextDrift, encoder: str) -> list[ProbeDrift]:
    last = found.steps[-1]
    return [row for row in found.at(last, encoder) if row.probe.kind == LEARNT] + found.most(last, encoder)


def _cells(row: ProbeDrift, number: Callable[[float], str], joined: str) -> list[str]:
    measures = [number(value) for value in (row.sequence, row.own, row.pooled, row.kept)]
    texts = [joined.join(each) for each in (row.gone, row.came, row.before, row.nearest)]
    return [str(row.step), row.encoder, row.probe.kind, row.probe.text, *measures, *texts]


def _word_cells(vector: VectorDrift, number: Callable[[float], str]) -> list[str]:
    near = _JOINED.join(f"{one.word} {one.cosine:.3f}" for one in vector.near)
    numbers = [number(value) for value in (vector.length, vector.moved, vector.cosine)]
    start = "start" if vector.since == START else f"step {vector.since}"
    return [str(vector.step), vector.encoder, vector.token, str(vector.number), *numbers, near, start]


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]], places: Sequence[int]) -> str:
    lines = [[columns[place].replace("_", " ") for place in places], ["---"] * len(places)]
    lines += [[row[place].replace("|", "\\|") for place in places] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(value: float) -> str:
    """Return a number with three digits that count, 0 for none at all; a dash for NaN."""
    return "-" if isnan(value) else "0" if value == 0 else f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.1e}"


def percent(value: float) -> str:
    """Return a share in percent; a dash for NaN."""
    if isnan(value):
        return "-"
    return f"{value * 100:.0f}%" if value >= 0.01 or value == 0 else f"{value * 100:.2g}%"


def _exact(value: float) -> str:
    return "" if isnan(value) else f"{value:.8g}"


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)
