"""Tables of pictures, labelled on both axes and cut into pages that can be read when seen 2000 pixels wide."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw

from .lettering import Lettering, fit
from .plan import SweepPlan
from .sweep import Sweep, cell_picture

PAGE_SIDE = 4096
READING_SIDE = 2000  # pixels at which a page is looked at
FONT_SIZE = 20  # at READING_SIDE
SMALLEST_CELL = 0.085  # of the page's side: about 170 pixels when read
SMALLEST_SHOWN = 224  # pixels; smaller pictures are enlarged by a whole factor

PAPER, INK, FAINT, EMPTY, ACCENT, TINT = "#ffffff", "#1a1a1a", "#5f5f5f", "#eeeeee", "#b3471d", "#fbe9e0"


@dataclass(frozen=True)
class Entry:
    """A cell of a table. size: (width, height) of the picture. load: gives it, or None when it is missing."""

    size: tuple[int, int]
    load: Callable[[], Image.Image | None]
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table to draw. notes: text under the title. rows, columns: labels, () for none.

    cells: one tuple per row, None where there is nothing. base_row, base_column: index of what is marked as base.
    """

    title: str
    notes: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Entry | None, ...], ...]
    base_row: int | None = None
    base_column: int | None = None


def sweep_tables(sweep: Sweep) -> tuple[Table, ...]:
    """Return the tables of a sweep, with its run, trigger word and settings in title and notes."""
    manifest = sweep.manifest()
    about = manifest.get("about", {})
    plan, files = SweepPlan.from_json(manifest["plan"]), sweep.cells()
    trigger = f" · trigger: {about['trigger']}" if about.get("trigger") else ""

    def entry(cell: object) -> Entry:
        path = files[cell]  # type: ignore[index]
        return Entry(cell.size, lambda: cell_picture(path))  # type: ignore[attr-defined]

    return tuple(
        Table(
            title=f"{about.get('run', sweep.run_folder.name)}{trigger}",
            notes=tuple(line for line in (" · ".join(page.settings), " · ".join(plan.fixed())) if line),
            rows=page.rows,
            columns=page.columns,
            cells=tuple(tuple(entry(cell) for cell in row) for row in page.cells),
            base_row=page.base_row,
            base_column=page.base_column,
        )
        for page in plan.layout()
    )


def list_table(
    pictures: Sequence[Image.Image], labels: Sequence[str], columns: int, title: str, rows: Sequence[str] = ()
) -> Table:
    """Return a table of pictures in reading order.

    columns: pictures in a row; 0 means one row per full set of labels, or nearly square without labels.
    labels: as many as columns head the columns; otherwise one under each picture, as far as they go.
    rows: labels of the rows. Raises ValueError without pictures, or when a number of labels fits neither.
    """
    if not pictures:
        raise ValueError("images: got none, allowed at least one, connect pictures or a sweep")
    count = columns or _columns_for(len(pictures), len(labels))
    height = math.ceil(len(pictures) / count)
    heads = len(labels) == count
    if labels and not heads and len(labels) != len(pictures):
        raise ValueError(
            f"labels: got {len(labels)}, allowed {count} (one per column) or {len(pictures)} (one per image), "
            "connect the list that belongs to the images"
        )
    if rows and len(rows) != height:
        raise ValueError(f"row_labels: got {len(rows)}, allowed {height} (one per row), change columns or the labels")
    captions = [""] * len(pictures) if heads or not labels else list(labels)
    entries: list[Entry | None] = [
        Entry(picture.size, lambda picture=picture: picture, caption)  # type: ignore[misc]
        for picture, caption in zip(pictures, captions, strict=True)
    ]
    entries += [None] * (count * height - len(entries))
    cells = tuple(tuple(entries[row * count : (row + 1) * count]) for row in range(height))
    return Table(title, (), tuple(rows), tuple(labels) if heads else (), cells)


def _columns_for(pictures: int, labels: int) -> int:
    if labels and pictures % labels == 0 and (labels < pictures or pictures <= 8):
        return labels
    return min(pictures, math.ceil(math.sqrt(pictures)))


def draw_pages(
    tables: Sequence[Table], page_side: int = PAGE_SIDE, check_interrupt: Callable[[], None] = lambda: None
) -> list[Image.Image]:
    """Return the tables as RGB pictures, each side at most about `page_side` pixels; large tables take several.

    A table is cut so that a cell stays recognisable; the marked base comes along on every part.
    """
    parts = [part for table in tables for part in _parts(table)]
    pages = []
    for number, part in enumerate(parts, start=1):
        check_interrupt()
        title = part.title + (f" · page {number} of {len(parts)}" if len(parts) > 1 else "")
        pages.append(_Drawing(replace(part, title=title), page_side).draw())
    return pages


def _parts(table: Table) -> list[Table]:
    """Cut a table into parts with few enough rows and columns, of nearly equal size."""
    width, height = _box(table)
    widest = max(width, height)
    most_columns = max(1, int((0.98 - _label_room(table)) / (SMALLEST_CELL * width / widest)))
    most_rows = max(1, int(0.8 / (SMALLEST_CELL * height / widest)))
    rows = _chunks(len(table.cells), most_rows, table.base_row)
    columns = _chunks(len(table.cells[0]), most_columns, table.base_column)
    return [_part(table, row_part, column_part) for row_part in rows for column_part in columns]


def _label_room(table: Table) -> float:
    """Return the part of a page's width that row labels may take."""
    longest = max(map(len, table.rows), default=0)
    return min(0.22, 0.012 * longest + 0.02) if longest else 0.0


def _chunks(length: int, most: int, base: int | None) -> list[list[int]]:
    """Return indices in nearly equal chunks of at most `most`; the base's index leads every chunk."""
    if length <= most:
        return [list(range(length))]
    lead = [] if base is None else [base]
    others = [index for index in range(length) if index != base]
    room = max(1, most - len(lead))
    pieces = math.ceil(len(others) / room)
    cuts = [len(others) * piece // pieces for piece in range(pieces + 1)]
    return [lead + others[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]


def _part(table: Table, rows: list[int], columns: list[int]) -> Table:
    return replace(
        table,
        rows=tuple(table.rows[row] for row in rows) if table.rows else (),
        columns=tuple(table.columns[column] for column in columns) if table.columns else (),
        cells=tuple(tuple(table.cells[row][column] for column in columns) for row in rows),
        base_row=None if table.base_row is None else rows.index(table.base_row),
        base_column=None if table.base_column is None else columns.index(table.base_column),
    )


def _box(table: Table) -> tuple[int, int]:
    """Return the (width, height) that holds every picture of the table."""
    sizes = [entry.size for row in table.cells for entry in row if entry]
    return max((size[0] for size in sizes), default=1), max((size[1] for size in sizes), default=1)


class _Drawing:
    """One page: sizes first, then ink."""

    def __init__(self, table: Table, page_side: int) -> None:
        self.table = table
        self.columns, self.rows = len(table.cells[0]), len(table.cells)
        width, height = _box(table)
        self.factor = self._factor(width, height, page_side)
        self.widths = [self._widest(row[column] for row in table.cells) for column in range(self.columns)]
        self.heights = [self._tallest(row) for row in table.cells]
        longest = max(sum(self.widths) / (0.98 - _label_room(table)), sum(self.heights) * 1.12)
        self.unit = max(0.8, longest / READING_SIDE)
        self.font = round(FONT_SIZE * self.unit)
        self.gap = max(4, round(8 * self.unit))
        self._letter()

    def _factor(self, width: int, height: int, page_side: int) -> float:
        across = page_side * (0.95 - _label_room(self.table)) / (self.columns * width)
        down = page_side * 0.8 / (self.rows * height)
        wanted = float(max(1, math.ceil(SMALLEST_SHOWN / max(width, height))))
        return min(wanted, across, down)

    def _widest(self, column: Iterable[Entry | None]) -> int:
        return max((self._shown(entry.size)[0] for entry in column if entry), default=1)

    def _tallest(self, row: Iterable[Entry | None]) -> int:
        return max((self._shown(entry.size)[1] for entry in row if entry), default=1)

    def _letter(self) -> None:
        table = self.table
        long_label = round(0.2 * READING_SIDE * self.unit)
        labelled = zip(table.rows, self.heights, strict=False)
        self.row_labels = [fit(label, self.font, long_label, height - self.gap) for label, height in labelled]
        self.label_width = max((label.width for label in self.row_labels), default=0)
        tall = round(self.font * 1.25 * 8)
        headed = zip(table.columns, self.widths, strict=False)
        self.heads = [fit(label, self.font, width - self.gap, tall) for label, width in headed]
        self.head_height = max((head.height for head in self.heads), default=-self.gap) + self.gap
        self.captions = [
            [self._caption(entry, width, tall // 2) for entry, width in zip(row, self.widths, strict=True)]
            for row in table.cells
        ]
        self.caption_heights = [max((caption.height for caption in row if caption), default=0) for row in self.captions]
        self.left = self.gap * 2 + (self.label_width + self.gap if table.rows else 0)
        self.page_width = self.left + sum(self.widths) + self.gap * (self.columns + 1)
        smallest_width = round(0.3 * READING_SIDE * self.unit)
        self.page_width = max(self.page_width, smallest_width)
        room = self.page_width - 4 * self.gap
        self.title = fit(table.title, round(self.font * 1.5), room, round(self.font * 1.5 * 1.25 * 3))
        self.notes = [fit(note, self.font, room, round(self.font * 1.25 * 6)) for note in table.notes]
        self.top = self.gap * 4 + self.title.height + sum(note.height for note in self.notes) + self.head_height
        body = sum(self.heights) + sum(self.caption_heights) + self.gap * self.rows
        self.page_height = self.top + body + self.gap

    def _caption(self, entry: Entry | None, width: int, height: int) -> Lettering | None:
        return fit(entry.caption, self.font, width, height) if entry and entry.caption else None

    def draw(self) -> Image.Image:
        """Return the page."""
        self.page = Image.new("RGB", (self.page_width, self.page_height), PAPER)
        self.canvas = ImageDraw.Draw(self.page)
        self._draw_title()
        self._draw_heads()
        top = self.top
        for row in range(self.rows):
            self._draw_row(row, top)
            top += self.heights[row] + self.caption_heights[row] + self.gap
        return self.page

    def _draw_title(self) -> None:
        top = self.gap * 2
        for text, ink in [(self.title, INK), *((note, FAINT) for note in self.notes)]:
            text.draw(self.canvas, self.gap * 2, top, ink)
            top += text.height

    def _draw_heads(self) -> None:
        for column, head in enumerate(self.heads):
            left, bottom = self._column_left(column), self.top - self.gap
            if column == self.table.base_column:
                self._mark(
                    (left, bottom - self.head_height + self.gap // 2, left + self.widths[column], bottom + self.gap)
                )
            head.draw(self.canvas, left + self.gap // 2, bottom - head.height, self._ink(column, "base_column"))

    def _draw_row(self, row: int, top: int) -> None:
        if self.table.rows:
            label = self.row_labels[row]
            if row == self.table.base_row:
                self._mark((self.gap, top, self.left, top + self.heights[row]))
            label.draw(self.canvas, self.gap * 2, top, self._ink(row, "base_row"))
        for column, entry in enumerate(self.table.cells[row]):
            if entry:
                self._draw_cell(entry, self._column_left(column), top)
            if caption := self.captions[row][column]:
                caption.draw(self.canvas, self._column_left(column), top + self.heights[row] + self.gap // 4, INK)

    def _draw_cell(self, entry: Entry, left: int, top: int) -> None:
        picture = entry.load()
        if picture is None:
            self._draw_missing(left, top, entry)
        else:
            self.page.paste(self._scaled(picture), (left, top))

    def _scaled(self, picture: Image.Image) -> Image.Image:
        size = self._shown(picture.size)
        whole = self.factor >= 1 and float(self.factor).is_integer()
        filter_ = Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS
        return picture.convert("RGB").resize(size, filter_)

    def _draw_missing(self, left: int, top: int, entry: Entry) -> None:
        width, height = self._shown(entry.size)
        corner = (left + width - 1, top + height - 1)
        self.canvas.rectangle(((left, top), corner), fill=EMPTY, outline=FAINT)
        self.canvas.line(((left, top), corner), fill=FAINT)
        self.canvas.line(((left, corner[1]), (corner[0], top)), fill=FAINT)
        text = fit("not rendered", self.font, width - self.gap, height)
        middle = left + (width - text.width) // 2, top + (height - text.height) // 2
        self.canvas.rectangle((*middle, middle[0] + text.width, middle[1] + text.height), fill=EMPTY)
        text.draw(self.canvas, *middle, FAINT)

    def _shown(self, size: tuple[int, int]) -> tuple[int, int]:
        return max(1, round(size[0] * self.factor)), max(1, round(size[1] * self.factor))

    def _column_left(self, column: int) -> int:
        return self.left + sum(self.widths[:column]) + column * self.gap

    def _ink(self, index: int, axis: str) -> str:
        return ACCENT if index == getattr(self.table, axis) else INK

    def _mark(self, box: tuple[int, int, int, int]) -> None:
        self.canvas.rectangle(box, fill=TINT)
