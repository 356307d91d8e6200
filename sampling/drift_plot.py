"""Text drift as a picture: how far which texts moved over the steps, and what the farthest are now near to."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, log10

from PIL import Image, ImageDraw

from .drift_report import figure, percent
from .lettering import fit
from .text_drift import ProbeDrift, TextDrift
from .word_drift import START, VectorDrift

INK, FAINT, PAPER, EMPTY, RULE = "#1a1a1a", "#6b6b6b", "#ffffff", "#d9d9d9", "#dddddd"
GONE, CAME, WORD = "#8a8a8a", "#b3471d", "#0b5394"
# ColorBrewer's YlOrRd (Brewer 2002), told apart by people with any colour vision; unmoved is white.
_RAMP = ("#ffffff", "#ffffcc", "#fed976", "#fd8d3c", "#e31a1c", "#800026")
_LEAST, _MOST = 1e-3, 1.0  # of the distance between two texts: pale and dark end of the colours
_LEFT = 0.6  # part of the width for the map
_LINE = 1.3


@dataclass(frozen=True)
class _Row:
    """A line of the map. cells: encoder -> a value for each step, and as part of the distance between two texts."""

    label: str
    cells: dict[str, list[tuple[float, float]]]
    ink: str = INK


def plot_text_drift(found: TextDrift, words: Sequence[VectorDrift], width: int, height: int) -> Image.Image:
    """Return an RGB picture of width x height pixels.

    Left a map: means, classes, the learnt words and the plain texts that moved most, over the steps of each encoder.
    Its colour is logarithmic, from a thousandth to the whole of the distance between two texts, in every picture alike.
    Right the texts that moved most at the last step, with the neighbours that went and came, and the learnt words.
    """
    return _Drawing(found, words, width, height).draw()


def colour(share: float) -> str:
    """Return the colour of a drift that is this part of the distance between two texts; grey for NaN."""
    if isnan(share):
        return EMPTY
    if share <= 0:
        return _RAMP[0]
    place = 1 + (log10(max(share, _LEAST)) - log10(_LEAST)) / (log10(_MOST) - log10(_LEAST)) * (len(_RAMP) - 2)
    low = min(int(place), len(_RAMP) - 2)
    part = min(place - low, 1.0)
    mixed = (round(a + (b - a) * part) for a, b in zip(_rgb(_RAMP[low]), _rgb(_RAMP[low + 1]), strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def _rgb(code: str) -> tuple[int, ...]:
    return tuple(int(code[start : start + 2], 16) for start in (1, 3, 5))


class _Drawing:
    def __init__(self, found: TextDrift, words: Sequence[VectorDrift], width: int, height: int) -> None:
        self.found, self.words, self.width, self.height = found, words, width, height
        self.unit = max(10, round(min(width, height) / 50))
        self.line = round(self.unit * _LINE)
        self.page = Image.new("RGB", (width, height), PAPER)
        self.canvas = ImageDraw.Draw(self.page)
        self.last = found.steps[-1]
        self.label = round(self.width * 0.2)
        across = round(self.width * _LEFT) - 2 * self.unit - self.label - self.unit * (len(found.encoders) - 1)
        self.cell = across / (len(found.encoders) * len(found.steps))
        self.numbered = self.cell >= 3.2 * self.unit

    def draw(self) -> Image.Image:
        """Return the picture."""
        top = self._header()
        self._map(self.unit, top, self.height - self.unit)
        left = round(self.width * _LEFT) + self.unit
        bottom = self._learnt(left, top) if self.words else top
        self._company(left, bottom)
        return self.page

    def _text(self, place: tuple[float, float], text: str, room: float, ink: str = INK, lines: int = 1) -> int:
        """Write text into at most `lines` lines of `room` pixels; returns the height it took."""
        lettering = fit(text, self.unit, max(1, round(room)), max(1, lines * self.line))
        lettering.draw(self.canvas, round(place[0]), round(place[1]), ink)
        return lettering.height

    def _header(self) -> int:
        steps = f"step {self.last}" if len(self.found.steps) == 1 else f"steps {self.found.steps[0]} to {self.last}"
        room = self.width - 2 * self.unit
        top = self.unit // 2
        top += self._text((self.unit, top), f"Text drift of {self.found.run}, {steps}, LoRA at strength 1", room)
        for encoder in self.found.encoders:
            top += self._text((self.unit, top), self._summary(encoder), room, FAINT)
        return self._legend(top + self.unit // 2)

    def _summary(self, encoder: str) -> str:
        mean = self.found.mean(self.last, encoder)
        if mean == 0:
            return f"{encoder}: unmoved"
        share = self.found.share(mean, encoder)
        common = self.found.common_share(self.last, encoder)
        apart = figure(self.found.spacing.get((encoder, "sequence"), 0.0))
        return (
            f"{encoder}: mean drift {figure(mean)}, {percent(share)} of the {apart} between two texts; "
            f"{percent(common)} of it is the same for all"
        )

    def _legend(self, top: int) -> int:
        """Draw the colours with their meaning; returns where the map may begin."""
        width, left = round(self.width * 0.25), self.unit
        for x in range(width):
            share = 10 ** (log10(_LEAST) + (log10(_MOST) - log10(_LEAST)) * x / width)
            self.canvas.line((left + x, top, left + x, top + self.unit - 2), fill=colour(share))
        self.canvas.rectangle((left, top, left + width, top + self.unit - 2), outline=FAINT)
        told = f"colour: {percent(_LEAST)} to {percent(_MOST)} of the distance between two texts"
        told += "; number: 1 - cosine" if self.numbered else ""
        self._text((left + width + self.unit, top - self.unit * 0.15), told, self.width - width - 3 * self.unit, FAINT)
        return top + round(self.unit * 1.8)

    def _map(self, left: int, top: int, bottom: int) -> None:
        blocks = self._blocks(bottom - top - 2 * self.line)
        apart = self.cell * len(self.found.steps) + self.unit
        edges = {name: left + self.label + place * apart for place, name in enumerate(self.found.encoders)}
        self._heads(edges, top)
        top += 2 * self.line
        for block in blocks:
            for row in block:
                self._text((left, top + self.line * 0.12), row.label, self.label - self.unit * 0.5, row.ink)
                for encoder, values in row.cells.items():
                    self._cells(edges[encoder], top, values)
                top += self.line
            top += self.unit // 2

    def _heads(self, edges: dict[str, float], top: int) -> None:
        widest = max(len(str(step)) for step in self.found.steps) * self.unit * 0.7
        every = max(1, -(-round(widest) // max(1, round(self.cell))))
        for encoder, left in edges.items():
            self._text((left, top), encoder, self.cell * len(self.found.steps), FAINT)
            for place, step in enumerate(self.found.steps):
                if (len(self.found.steps) - 1 - place) % every == 0:
                    middle = left + self.cell * (place + 0.5)
                    self._centred(middle, top + self.line, str(step), self.cell * every, INK)

    def _cells(self, left: float, top: float, values: Sequence[tuple[float, float]]) -> None:
        for place, (value, share) in enumerate(values):
            box = (
                round(left + self.cell * place),
                round(top),
                round(left + self.cell * (place + 1)) - 2,
                round(top) + self.line - 2,
            )
            self.canvas.rectangle(box, fill=colour(share), outline=RULE)
            if self.numbered:
                ink = PAPER if share > 0.12 else INK
                self._centred((box[0] + box[2]) / 2, top + self.line * 0.08, figure(value), self.cell - 4, ink)

    def _centred(self, middle: float, top: float, text: str, room: float, ink: str) -> None:
        lettering = fit(text, round(self.unit * 0.9), max(1, round(room)), self.line)
        lettering.draw(self.canvas, round(middle - lettering.width / 2), round(top), ink)

    def _blocks(self, room: int) -> list[list[_Row]]:
        """Return the lines of the map, no more than fit: means, learnt words, classes, then what moved most."""
        rows = self.found.at(self.last, self.found.encoders[0])
        learnt = [row.probe.text for row in rows if row.probe.learnt]
        kinds = list(dict.fromkeys(row.probe.kind for row in rows if not row.probe.learnt))
        blocks = [[self._probe(text, WORD) for text in learnt]]
        if kinds:
            blocks.insert(0, self._means())
        if len(kinds) > 1:
            blocks.append([self._mean(f"{kind} (mean)", "sequence", kind, FAINT) for kind in kinds])
        used = sum(map(len, blocks)) * self.line + len(blocks) * (self.unit // 2)
        free = max(0, (room - used) // self.line)
        farthest = [row.probe.text for row in self._farthest_rows()]
        return [block for block in [*blocks, [self._probe(text) for text in farthest[:free]]] if block]

    def _means(self) -> list[_Row]:
        common = {
            encoder: [self._value(self.found.common[step, encoder], encoder) for step in self.found.steps]
            for encoder in self.found.encoders
        }
        rows = [self._mean("all texts (mean)", "sequence"), _Row("alike for all", common, FAINT)]
        return rows + ([self._mean("pooled output", "pooled", ink=FAINT)] if self.found.pooled else [])

    def _mean(self, label: str, measure: str, kind: str = "", ink: str = INK) -> _Row:
        cells = {
            encoder: [
                self._value(self.found.mean(step, encoder, measure, kind), encoder, measure)
                for step in self.found.steps
            ]
            for encoder in self.found.encoders
        }
        return _Row(label, cells, ink)

    def _probe(self, text: str, ink: str = INK) -> _Row:
        cells: dict[str, list[tuple[float, float]]] = {encoder: [] for encoder in self.found.encoders}
        for row in self.found.rows:
            if row.probe.text == text:
                cells[row.encoder].append(self._value(row.sequence, row.encoder))
        return _Row(text, cells, ink)

    def _value(self, value: float, encoder: str, measure: str = "sequence") -> tuple[float, float]:
        return value, self.found.share(value, encoder, measure)

    def _farthest_rows(self) -> list[ProbeDrift]:
        """Return each plain text in the encoder where it moved farthest, measured by its distances, those first."""
        rows = [row for encoder in self.found.encoders for row in self.found.most(self.last, encoder)]
        shares = {id(row): self.found.share(row.sequence, row.encoder) for row in rows}
        best: dict[str, ProbeDrift] = {}
        for row in sorted(rows, key=lambda row: (not isnan(shares[id(row)]), -round(shares[id(row)], 9))):
            best.setdefault(row.probe.text, row)
        return list(best.values())

    def _learnt(self, left: int, top: int) -> int:
        """Write what the learnt vectors have become; returns where they end."""
        room, limit = self.width - left - self.unit, top + (self.height - top) * 0.3
        top += self._text((left, top), f"Learnt vectors at step {self.last}", room, FAINT)
        for vector in (each for each in self.words if each.step == self.last):
            if top > limit:
                top += self._text((left, top), "and more: see the table", room, FAINT)
                break
            since = "start" if vector.since == START else f"step {vector.since}"
            near = ", ".join(one.word for one in vector.near)
            name = f"{vector.token} {vector.number} ({vector.encoder}): length {vector.length:.2f}, "
            top += self._text((left, top), f"{name}{vector.moved:.2f} from its {since}", room, WORD)
            top += self._text((left + self.unit, top), f"near {near}", room - self.unit)
        return top + self.line // 2

    def _company(self, left: int, top: int) -> None:
        """Write the neighbours of the run's own words, then of the texts that moved most, as far as there is room."""
        room = self.width - left - self.unit
        learnt = [row for encoder in self.found.encoders for row in self.found.at(self.last, encoder)]
        learnt = [row for row in learnt if row.probe.learnt]
        moved = [row for row in self._farthest_rows() if row.sequence != 0]
        top += self._text((left, top), f"Moved most at step {self.last}, and their neighbours", room, FAINT)
        for row in learnt + moved:
            if top + 3.2 * self.line > self.height:
                return
            top = self._neighbours(row, left, top, room)
        if not moved:
            self._text((left, top), "No text without a learnt word moved.", room, FAINT)

    def _neighbours(self, row: ProbeDrift, left: int, top: int, room: int) -> int:
        name = f"{row.probe.text}  {figure(row.sequence)}"
        name += f"  ({row.encoder})" if len(self.found.encoders) > 1 else ""
        top += self._text((left, top), name, room, WORD if row.probe.learnt else INK)
        lists = [("gone: ", row.gone, GONE), ("new: ", row.came, CAME)]
        if not row.gone and not row.came:
            lists = [("as before: ", row.nearest, FAINT)]
        for title, texts, ink in lists:
            if texts:
                top += self._text((left + self.unit, top), title + ", ".join(texts), room - self.unit, ink, lines=2)
        return top + self.line // 3
