"""Damaged files through loader, audit and codecs: ``python3 benchmarks/fuzz.py [--files 10000] [--seed 0]``.

Each case (`tests/damaged_files.py`) is a real file with flipped bits, missing, inserted or repeated runs, lies in its
header or far more pixels than bytes, or a corruption that damages a coded file. It is run in a worker process. A case
fails when the worker dies, when it raises what the pack does not promise, when one reading of the file (loading the
folder, auditing it, decoding) works for more than 2 s, or when it takes 1 GB more than the process held before; what
is held stands in the row. Time is processor time, as others may use the machine; a worker that does not answer for five
minutes is ended. Rows go to a file, and a run that is started again goes on behind the last one.

``--case N`` runs one case here, to look at.
"""

import argparse
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for _folder in ("scripts", "tests"):
    sys.path.append(str(ROOT / _folder))

LONGEST = 2.0  # seconds of processor time
LARGEST = 1_000_000_000  # bytes
_ANSWER = 300.0  # seconds of waiting: others may keep the machine busy
_ROOM = 4_000_000_000  # bytes of address space: libraries reserve far more than they use


class Worker:
    """A process that runs cases, one at a time."""

    def __init__(self, seed: int) -> None:
        command = [sys.executable, __file__, "--worker", "--seed", str(seed)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answers = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._answers.register(self._process.stdout, selectors.EVENT_READ)
        self._read(_ANSWER)

    def run(self, number: int) -> dict[str, Any]:
        """Return the row of a case; a dead or silent worker gives a row that says so, and is of no more use."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()
        except OSError:
            return {"failure": "the worker was gone"}
        line = self._read(_ANSWER)
        if line:
            return dict(json.loads(line))
        silent = self._process.poll() is None
        self.end()
        return {"failure": "no answer" if silent else f"the worker died, exit status {self._process.returncode}"}

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _read(self, seconds: float) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline() if self._answers.select(seconds) else ""


def work(seed: int) -> None:
    """Answer each number on standard input with the row of that case."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_ROOM, _ROOM))
    _prepare()
    print("ready", flush=True)
    with tempfile.TemporaryDirectory() as place:
        for line in sys.stdin:
            print(json.dumps(measured_case(int(line), seed, Path(place) / "case")), flush=True)


def measured_case(number: int, seed: int, place: Path) -> dict[str, Any]:
    """Return the row of a case: outcome, seconds of the longest reading, most bytes above those held, any failure."""
    from damaged_files import make_case, run_case

    case = make_case(number, seed)
    row: dict[str, Any] = {"case": number, "kind": case.kind, "damage": case.damage, "bytes": len(case.data)}
    _forget_peak()
    held = _held("VmRSS")
    laps = [time.process_time()]
    try:
        row["outcome"] = run_case(case, place, lambda: laps.append(time.process_time()))
    except Exception as error:  # everything is what this looks for
        row["failure"] = f"{type(error).__name__}: {str(error)[:300]}"
    laps.append(time.process_time())
    row["seconds"] = round(max(end - start for start, end in pairwise(laps)), 4)
    row["memory"] = _held("VmHWM") - held
    row["held"] = held
    if row["seconds"] > LONGEST:
        row.setdefault("failure", f"took {row['seconds']} s")
    if row["memory"] > LARGEST:
        row.setdefault("failure", f"took {row['memory']:,} bytes")
    return row


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # another system: the peak is then that of the whole run
        pass


def _held(name: str) -> int:
    """Return the bytes of memory that the process holds ("VmRSS") or held at most ("VmHWM")."""
    status = Path("/proc/self/status")
    if status.is_file():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith(name)]
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _prepare() -> None:
    """Import what the cases use, so that the first one is not charged for it."""
    from as_package import register_pack

    register_pack()
    warnings.simplefilter("ignore")
    from damaged_files import make_case, run_case

    with tempfile.TemporaryDirectory() as place:
        for number in range(30):
            try:
                run_case(make_case(number, 1 << 40), Path(place) / "first")
            except Exception:  # noqa: S112  it will come again and be counted
                continue


def fuzz(files: int, seed: int, rows: Path, watch: int = 500) -> list[dict[str, Any]]:
    """Run the cases that `rows` does not have yet, write them there, and return all rows."""
    done = [json.loads(line) for line in rows.read_text().splitlines()] if rows.is_file() else []
    worker = Worker(seed)
    try:
        with rows.open("a") as file:
            for number in range(len(done), files):
                row = {"case": number, **worker.run(number)}
                if "seconds" not in row:
                    worker = Worker(seed)
                done.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
                if (number + 1) % watch == 0:
                    print(f"{number + 1} of {files}, failures {sum('failure' in one for one in done)}", flush=True)
    finally:
        worker.end()
    return done


def main() -> None:
    """Run the cases and tell what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=Path, help="where the rows go; a temporary file without it")
    parser.add_argument("--case", type=int, help="run this one case in this process")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.seed)
        return
    if options.case is not None:
        _prepare()
        with tempfile.TemporaryDirectory() as place:
            print(json.dumps(measured_case(options.case, options.seed, Path(place) / "case"), indent=1))
        return
    rows = options.rows or Path(tempfile.gettempdir()) / f"glitch-fuzz-{options.seed}-{os.getpid()}.jsonl"
    told = fuzz(options.files, options.seed, rows)
    failures = [row for row in told if "failure" in row]
    slowest, largest = (max(row.get(name, 0) for row in told) for name in ("seconds", "memory"))
    print(f"{len(told)} cases, {len(failures)} failures; rows in {rows}")
    print(f"longest {slowest} s, most memory {largest:,}")
    outcomes = Counter(str(row.get("outcome", "failed")).split(":")[0] for row in told)
    print(", ".join(f"{outcome} {count}" for outcome, count in outcomes.most_common()))
    for row in failures[:50]:
        print(json.dumps(row))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    from rerun import again_in_environment, in_environment

    if not in_environment() and "--worker" not in sys.argv:  # a worker is started by the right Python already
        sys.exit(again_in_environment(str(Path(__file__).resolve())))
    main()
