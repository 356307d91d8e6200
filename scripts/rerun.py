"""Run a script again by the Python that has ComfyUI and the requirements. Standard library only."""

from __future__ import annotations  # an older Python must get as far as being told which one is needed

import os
import subprocess
import sys

from environment import SetupError, prepare

_INSIDE = "GLITCH_IN_ENVIRONMENT"


def in_environment() -> bool:
    """Return whether this process is the one that `again_in_environment` started."""
    return _INSIDE in os.environ


def again_in_environment(script: str, extras: tuple[str, ...] = ("demo", "test")) -> int:
    """Run the script with this process's arguments in the environment (made if missing); return its exit status.

    extras: which requirement files the script needs besides the pack's own.
    """
    try:
        environment = prepare(extras)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    variables = environment.variables() | {_INSIDE: "1"}
    variables.pop("PYTHONSAFEPATH")  # the script imports its neighbours
    return subprocess.run([str(environment.python), script, *sys.argv[1:]], env=variables).returncode
