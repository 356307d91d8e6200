"""What is wrong with a dataset, found before it is trained on, and the dataset without it."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from .audit_captions import caption_findings, has_colour
from .audit_colours import AppendColours, append_colours, backgrounds, colour_name, main_colours, odd_palettes
from .audit_copies import Copy, copies
from .audit_facts import Facts, examine_all
from .audit_finding import CAPTION_KINDS, KINDS, Finding
from .audit_pictures import SMALLEST_SIDE, defects, is_compressed
from .dataset import Dataset
from .images import BrokenImage
from .report import counted
from .selection import parted

Drop = Literal["nothing", "defects", "defects and warnings"]
Copies = Literal["keep", "drop exact", "drop exact and near"]

COPY_KINDS = ("exact duplicate", "near duplicate")
# Loading has already repaired these.
CONVERTED_KINDS = ("greyscale", "CMYK", "palette", "transparent")

_FEW = 15
_VARIED = 0.3
_COMPARED = 128


@dataclass(frozen=True, eq=False)
class Audit:
    """What was found. facts: of each item's file, None where it could not be read. trigger: the word looked for."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    facts: tuple[Facts | None, ...]
    trigger: str

    def flagged(self, kinds: Collection[str] | None = None) -> list[int]:
        """Return the indices with a finding of `kinds`, or with a defect or warning of any kind, in order."""
        wanted = [name for name, kind in KINDS.items() if kind.severity != "advice"] if kinds is None else kinds
        return sorted({found.index for found in self.findings if found.index is not None and found.kind in wanted})

    def repaired(self, drop: Drop = "nothing", duplicates: Copies = "keep", colours: bool = False) -> Dataset:
        """Return the dataset without what is wrong.

        drop: pictures with defects, or with warnings too; what loading converts, and captions, are no reason.
        duplicates: of each group the best stays, with its own caption. colours: the measured colours are appended to
        captions that name none.
        """
        kinds = [kind for kind in KINDS if _drops(kind, drop)]
        kinds += COPY_KINDS[: {"keep": 0, "drop exact": 1, "drop exact and near": 2}[duplicates]]
        unwanted = set(self.flagged(kinds))
        kept = [index for index in range(len(self.dataset)) if index not in unwanted]
        dataset = parted(self.dataset, kept)[0] if unwanted else self.dataset
        return dataset.with_step(self.colour_step) if colours and self.colour_step.table else dataset

    @cached_property
    def colour_step(self) -> AppendColours:
        """The step that appends measured colours to the captions that name none."""
        names = {}
        for index, facts in enumerate(self.facts):
            if facts is not None and not has_colour(self.dataset.caption(index)):
                names[self.dataset.items[index].file_key] = main_colours(facts.thumb)
        return append_colours(names)


def audit(
    dataset: Dataset,
    trigger: str = "",
    smallest_side: int = SMALLEST_SIDE,
    watch: Callable[[int, int], None] | None = None,
) -> Audit:
    """Return what is wrong with a dataset: its pictures as they are in their files, its captions after all steps.

    trigger: the word that every caption should have; "" takes the dataset's own. smallest_side: pixels below which a
    picture is tiny. `watch(done, total)` is called after each file.
    """
    places = {(item.path, item.background): index for index, item in reversed(list(enumerate(dataset.items)))}
    files = sorted(places, key=lambda file: places[file])
    known = dict(zip(files, examine_all(files, watch), strict=True))
    seen = [known[item.path, item.background] for item in dataset.items]
    facts = tuple(None if isinstance(one, BrokenImage) else one for one in seen)
    names = [item.name for item in dataset.items]
    word = trigger.strip() or dataset.trigger
    captions = [dataset.caption(index) for index in range(len(dataset))]
    findings = [
        *(Finding("unreadable", name, reason) for name, reason in dataset.broken),
        *(
            Finding("unreadable", names[at], str(one), at)
            for at, one in enumerate(seen)
            if isinstance(one, BrokenImage)
        ),
        *_of_pictures(facts, names, smallest_side),
        *_of_copies(dataset, facts, sorted(places.values())),
        *_of_backgrounds(facts, names),
        *_of_palettes(facts, names),
        *caption_findings(captions, names, word),
        *_of_variety(facts),
    ]
    return Audit(dataset, tuple(findings), facts, word)


def _drops(kind: str, drop: Drop) -> bool:
    if kind in COPY_KINDS or kind in CAPTION_KINDS or kind in CONVERTED_KINDS or drop == "nothing":
        return False
    severity = KINDS[kind].severity
    return severity == "defect" or (severity == "warning" and drop == "defects and warnings")


def _of_pictures(facts: tuple[Facts | None, ...], names: list[str], smallest: int) -> Iterator[Finding]:
    for index, fact in enumerate(facts):
        if fact is not None:
            yield from (Finding(kind, names[index], detail, index) for kind, detail in defects(fact, smallest))


def _of_copies(dataset: Dataset, facts: tuple[Facts | None, ...], files: list[int]) -> Iterator[Finding]:
    """Yield the copies among different files: an item that is there twice is meant to be."""

    def rank(place: int) -> tuple:
        fact, item = facts[files[place]], dataset.items[files[place]]
        if fact is None:
            return (False,)
        return (
            True,
            not is_compressed(fact),
            fact.size[0] * fact.size[1],
            bool(item.caption),
            fact.quality or 101,
            -place,
        )

    keys = [dataset.items[index].file_key for index in files]
    for copy in copies(keys, [facts[index] for index in files], rank):
        index, of = files[copy.index], dataset.items[files[copy.of]].name
        yield Finding(COPY_KINDS[not copy.exact], dataset.items[index].name, _likeness(copy, of), index)


def _likeness(copy: Copy, of: str) -> str:
    if copy.exact:
        return f"the same file as {of}"
    return f"{'looks' if copy.bits == 0 else 'looks nearly'} like {of}{' mirrored' if copy.mirrored else ''}"


def _of_backgrounds(facts: tuple[Facts | None, ...], names: list[str]) -> Iterator[Finding]:
    places = [index for index, fact in enumerate(facts) if fact is not None]
    found = backgrounds([fact for fact in facts if fact is not None])
    usual = "" if found.common is None else colour_name(found.common)
    for odd in found.odd:
        shown = colour_name(found.colours[odd]) if odd in found.plain else "not plain"
        detail = f"{shown}, those of the others are {usual}"
        yield Finding("odd background", names[places[odd]], detail, places[odd])
    if found.mixed:
        named = sorted({colour_name(found.colours[place]) for place in found.plain})
        yield Finding("mixed backgrounds", "", f"{len(found.plain)} are plain, in {', '.join(named[:8])}")


def _of_palettes(facts: tuple[Facts | None, ...], names: list[str]) -> Iterator[Finding]:
    places = [(index, fact) for index, fact in enumerate(facts) if fact is not None]
    for place, _ in odd_palettes([fact for _, fact in places]):
        index, fact = places[place]
        detail = f"{', '.join(main_colours(fact.thumb, 0.03))}; far from the colours of most pictures"
        yield Finding("odd palette", names[index], detail, index)


def _of_variety(facts: tuple[Facts | None, ...]) -> Iterator[Finding]:
    from ..metrics.diversity import vendi_score

    thumbs = [fact.thumb for fact in facts if fact is not None]
    if len(thumbs) < _FEW:
        yield Finding("few pictures", "", f"{counted(len(thumbs), 'picture')}; a style wants {_FEW} to 50 or more")
    chosen = [thumbs[int(place)] for place in np.linspace(0, len(thumbs) - 1, min(len(thumbs), _COMPARED))]
    distinct = vendi_score(chosen) if chosen else 0.0
    if len(chosen) > 2 and distinct < _VARIED * len(chosen):
        yield Finding("little variety", "", f"{len(chosen)} pictures look like {distinct:.1f} different ones")
