"""Names for a person who asked for one that is not there."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

_ALL_UP_TO = 12
_NEAREST = 4


def near_names(got: Any, names: Iterable[str]) -> str:
    """Return the names there are, in words; of many only their number and the few most like `got`, whatever it is."""
    found = list(names)
    if len(found) <= _ALL_UP_TO:
        return str(found)
    nearest = get_close_matches(str(got), found, _NEAREST, cutoff=0.0)
    return f"{len(found)} names, most like it {', '.join(nearest)}"
