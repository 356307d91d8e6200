"""How much the pack adds to ComfyUI's start: ``python3 benchmarks/import_time.py [rounds]``.

Reads ComfyUI's own line (one decimal) from the log of its start, and measures the same call more finely in a
process that has everything of ComfyUI loaded but the pack. The bar is 0.3 s.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

from comfy_server import PACK_NAME
from environment import ROOT, Environment, prepare

BAR = 0.3
_LOADS = """
import asyncio, sys, time
sys.path.insert(0, sys.argv[1])
import comfy.cli_args
comfy.cli_args.args.cpu = True
import nodes, server
asyncio.run(nodes.init_builtin_extra_nodes())
started = time.perf_counter()
assert asyncio.run(nodes.load_custom_node(sys.argv[2]))
print(time.perf_counter() - started)
"""


def own_line(environment: Environment) -> float:
    """Return the seconds that a starting ComfyUI reports for the pack, with its default arguments otherwise."""
    with tempfile.TemporaryDirectory() as base:
        packs = Path(base) / "custom_nodes"
        packs.mkdir()
        (packs / PACK_NAME).symlink_to(ROOT, target_is_directory=True)
        arguments = ["--cpu", "--quick-test-for-ci", "--base-directory", base, "--database-url", "sqlite:///:memory:"]
        log = _run(environment, ["main.py", *arguments])
    found = re.search(rf"([0-9.]+) seconds( \(IMPORT FAILED\))?: .*{PACK_NAME}", log)
    if found is None or found[2]:
        raise RuntimeError("the pack did not load: start the server by hand and read its log")
    return float(found[1])


def fine(environment: Environment) -> float:
    """Return the seconds that ComfyUI's loader takes for the pack, in a new process."""
    output = _run(environment, ["-c", _LOADS, str(environment.comfyui), str(ROOT)])
    return float(output.strip().splitlines()[-1])


def _run(environment: Environment, arguments: list[str]) -> str:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    command = [str(environment.python), *arguments]
    done = subprocess.run(
        command,
        cwd=environment.comfyui,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout


def main() -> int:
    """Print the measurements and return 0 when they stay under the bar."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    environment = prepare()
    reported = [own_line(environment) for _ in range(rounds)]
    measured = [fine(environment) for _ in range(rounds)]
    print(f"ComfyUI's own line:     {reported} s")
    print(f"the same call, in full: {[round(seconds, 3) for seconds in measured]} s, median {median(measured):.3f} s")
    print(f"bar:                    {BAR} s")
    return 0 if max(median(reported), median(measured)) <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
