"""Defects of single pictures, read off what was measured."""

from collections.abc import Iterator

from .audit_facts import Facts

SMALLEST_SIDE = 256  # pixels
LONGEST_SHAPE = 3.0  # times the shorter side
HUGE = 50_000_000  # pixels
LOW_QUALITY = 60
GAPPY = 0.2  # JPEG of quality 60 leaves seldom more than 0.1, quality 70 at least 0.24
BLOCKY = 2.0  # of pictures too smooth for that
BLURRED = 0.78
DARKEST, LIGHTEST = 70.0, 165.0  # luma
BLANK = 6.0  # levels between dark and light

_MODES = {
    **dict.fromkeys(("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F"), "greyscale"),
    **dict.fromkeys(("P", "PA"), "palette"),
    "CMYK": "CMYK",
}


def defects(facts: Facts, smallest_side: int = SMALLEST_SIDE) -> Iterator[tuple[str, str]]:
    """Yield (kind, detail) of what is wrong with a picture; smallest_side: below it, in pixels, a picture is tiny."""
    width, height = facts.size
    if min(facts.size) < smallest_side:
        yield "tiny", f"{width}x{height} pixels, the shorter side should have {smallest_side}"
    if width * height > HUGE:
        yield "huge", f"{width}x{height} pixels"
    if max(facts.size) > LONGEST_SHAPE * min(facts.size):
        yield "extreme shape", f"{width}x{height} pixels, {max(facts.size) / min(facts.size):.1f} to 1"
    if facts.mode in _MODES:
        yield _MODES[facts.mode], f"stored as {facts.mode}"
    if facts.transparent:
        yield "transparent", f"stored as {facts.mode} with transparent pixels"
    if facts.light - facts.dark < BLANK:
        yield "blank", f"nearly one colour, brightness {facts.dark:.0f} to {facts.light:.0f} of 255"
        return
    yield from _damage(facts)


def is_compressed(facts: Facts) -> bool:
    """Say whether a picture is, or once was, a JPEG of low quality."""
    low = facts.quality is not None and facts.quality <= LOW_QUALITY
    return low or facts.blocks > BLOCKY or facts.missing < GAPPY


def _damage(facts: Facts) -> Iterator[tuple[str, str]]:
    if is_compressed(facts):
        known = f"JPEG quality {facts.quality}" if facts.quality is not None else "traces of JPEG"
        yield "heavily compressed", f"{known}; {_trace(facts)}"
    if facts.blur > BLURRED:
        yield "blurred", f"blur {facts.blur:.2f}, 0 is sharp and 1 wholly soft"
    if facts.light < DARKEST:
        yield "underexposed", f"99 % of it is darker than {facts.light:.0f} of 255"
    if facts.dark > LIGHTEST:
        yield "overexposed", f"99 % of it is lighter than {facts.dark:.0f} of 255"


def _trace(facts: Facts) -> str:
    """Return what compression left of the picture, in words."""
    if facts.missing < GAPPY:
        return "its faintest detail is gone"
    return "the edges of its blocks show" if facts.blocks > BLOCKY else "a file of low quality"
