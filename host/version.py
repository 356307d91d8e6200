"""Is the ComfyUI around us new enough?"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

MINIMUM = (0, 30, 0)


class MisfitError(Exception):
    """ComfyUI's classes are not as they were."""


def parse_version(text: str) -> tuple[int, ...]:
    """Return the leading numeric parts of a version, e.g. ``"0.30.1rc2"`` -> ``(0, 30, 1)``."""
    parts: list[int] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)


def supported_comfyui() -> bool:
    """Say whether the nodes can load; log one line and return False when ComfyUI is too old.

    Outside ComfyUI (tests, the glitch and dataset packages used as a library) there is nothing to guard: True.
    """
    try:
        from comfyui_version import __version__ as found
    except ImportError:
        return True
    if parse_version(found) >= MINIMUM:
        return True
    needed = _text(MINIMUM)
    logging.error(
        "Glitch LoRA needs ComfyUI %s or newer, this is %s: its nodes are not loaded. Update ComfyUI.", needed, found
    )
    return False


@contextmanager
def fitting_comfyui(what: str) -> Iterator[None]:
    """Turn errors of making `what` out of ComfyUI's classes into one ValueError: they have changed since `MINIMUM`."""
    import comfy.model_management
    from comfyui_version import __version__ as found

    try:
        yield
    except comfy.model_management.OOM_EXCEPTION:
        raise
    except (MisfitError, ImportError, AttributeError, TypeError, KeyError, AssertionError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{what}: got ComfyUI {found}, whose classes it does not fit ({reason}), allowed {_text(MINIMUM)} and "
            "versions with the same classes, update Glitch LoRA or use that ComfyUI"
        ) from error


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
