"""Set everything up and run the test suite: ``python3 scripts/test.py [pytest arguments]``.

Without arguments the suite runs in two parts: the tests marked `exclusive` (a full-size model, measurements)
one by one, then everything else in two processes. With arguments, pytest gets them and runs once.
"""

from __future__ import annotations  # so that an older Python gets as far as being told which one is needed

import os
import shutil
import subprocess
import sys
from pathlib import Path

from environment import ROOT, Environment, SetupError, prepare

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER_PLACES = (
    "/usr/bin/chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Google/Chrome/Application/chrome.exe",
)
NO_TESTS_COLLECTED = 5


def main() -> int:
    """Return 0 when all went well, else the exit status of the first part that failed."""
    try:
        environment = prepare(("demo", "test"), say=_say)
        browser = find_browser() or install_browser()
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Run it again: the set-up goes on at the step it was in.", file=sys.stderr)
        return 1
    if not browser:
        _say("No Chromium or Chrome found: the browser tests are skipped. Set GLITCH_CHROMIUM to the program's path.")
    variables = environment.variables() | {"OMP_NUM_THREADS": "1", "GLITCH_CHROMIUM": browser or ""}
    if sys.argv[1:]:
        return _pytest(environment, variables, sys.argv[1:])
    return _whole_suite(environment, variables)


def find_browser() -> str | None:
    """Return the path of a Chromium or Chrome, or None: GLITCH_CHROMIUM, the search path, the usual places."""
    chosen = os.environ.get("GLITCH_CHROMIUM")
    if chosen:
        if not Path(chosen).is_file():
            raise SetupError(f"GLITCH_CHROMIUM: got {chosen!r}, needed the path of Chromium or Chrome, correct it")
        return chosen
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or next((place for place in BROWSER_PLACES if Path(place).is_file()), None)


def install_browser() -> str | None:
    """Install Debian's Chromium when this machine is ours to change (root, apt-get): a build machine, a container.

    A build machine (CI=true) without a browser is an error, so that no test is skipped there unseen.
    """
    may = hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get")
    if may:
        _say("Installing Chromium for the browser tests")
        _apt_get("update")
        done = _apt_get("install", "-y", "--no-install-recommends", "chromium")
        if done.returncode:
            _say("apt-get could not install Chromium:\n" + "\n".join(done.stdout.splitlines()[-10:]))
    found = find_browser()
    if not found and os.environ.get("CI", "").lower() in ("1", "true"):
        raise SetupError("browser: got none, needed Chromium or Chrome on a build machine, install it there")
    return found


def _apt_get(*arguments: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(
        ["apt-get", *arguments], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _whole_suite(environment: Environment, variables: dict[str, str]) -> int:
    """Run both parts and return the exit status of the first that failed, 0 when none did.

    The large part comes last, so its summary closes the output. A part that a signal ended has a negative status.
    """
    _say("Part 1 of 2: tests that need the machine for themselves, one by one")
    alone = _pytest(environment, variables, ["-m", "exclusive"])
    alone = 0 if alone == NO_TESTS_COLLECTED else alone
    if alone:
        _say(f"Part 1 failed with exit status {alone}")
    _say("Part 2 of 2: all other tests, in two processes")
    parallel = ["-m", "not exclusive", "-n", "2", "--dist", "loadgroup", "--durations=15"]
    shared = _pytest(environment, variables, parallel)
    return alone or shared


def _pytest(environment: Environment, variables: dict[str, str], arguments: list[str]) -> int:
    command = [str(environment.python), "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables).returncode


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
