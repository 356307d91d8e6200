"""Arms of a comparison that take turns: each in a process of its own, and only the one whose turn it is runs.

All of them are set up first, then they run block by block. So a slow moment of the machine hits neighbours, and
ratios are taken round by round. Setting up and the first, warming block are not counted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

MIB = 2**20
ARM = "--arm"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one process does; a benchmark adds what its arms need. blocks: counted ones, of `steps` steps each."""

    arm: str
    threads: int
    device: str
    blocks: int
    steps: int
    warm_up: int

    @property
    def total(self) -> int:
        """How many steps the arm makes."""
        return self.warm_up + self.blocks * self.steps


# In the process of one arm


class Turns:
    """Waits for this arm's turn, times the steps of a block, reports them, and in the end the memory."""

    def __init__(self, work: Work) -> None:
        self._left = [work.warm_up, *[work.steps] * work.blocks]
        self._device = work.device
        self._seconds: list[float] = []
        self._told: dict[str, Any] = {}
        self._since = self._processor = 0.0

    def start(self, **told: Any) -> None:
        """Say that everything is set up, and what is to be told of it; return when it is this arm's turn."""
        self._memory = Memory(self._device)
        self._report(**told)
        self._told = told
        self._wait()

    def step_done(self) -> None:
        """Count one step; at the end of a block, report it and wait for the next turn."""
        _synchronize()
        now = time.perf_counter()
        self._seconds.append(now - self._since)
        self._since = now
        if len(self._seconds) == self._left[0]:
            self._report(seconds=self._seconds, processor=(time.process_time() - self._processor) / self._left[0])
            self._left, self._seconds = self._left[1:], []
            if self._left:
                self._wait()

    def finish(self, **told: Any) -> None:
        """Report the memory, and what else is to be told in the end."""
        self._report(**self._memory.peaks(), told=self._told | told)

    def _wait(self) -> None:
        sys.stdin.readline()
        self._processor = time.process_time()
        self._since = time.perf_counter()

    def _report(self, **values: Any) -> None:
        print(json.dumps(values), file=sys.__stdout__, flush=True)


class Memory:
    """Peak memory in bytes: of the process in its life, while stepping, and over what it held before the first step.

    On CUDA it is the device's allocated memory, else the resident set of the process.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._cuda = device != "cpu" and torch.cuda.is_available()
        self._before = self._peak()
        self._loaded = torch.cuda.memory_allocated() if self._cuda else self._resident()
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        elif _linux():
            Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark

    def peaks(self) -> dict[str, int]:
        """Return "peak" of the process, "stepping" of the steps, "growth" of that over the loaded state."""
        stepping = self._peak()
        return {"peak": max(stepping, self._before), "stepping": stepping, "growth": stepping - self._loaded}

    def _peak(self) -> int:
        import torch

        if self._cuda:
            return torch.cuda.max_memory_allocated()
        if _linux():
            return _status("VmHWM")
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def _resident(self) -> int:
        return _status("VmRSS") if _linux() else self._before


def _linux() -> bool:
    return Path("/proc/self/clear_refs").exists()


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def _synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def import_comfy(work: Work) -> None:
    """Make ComfyUI importable, on the CPU where the work or the machine wants it, with the work's threads."""
    import torch

    sys.path.append(os.environ["COMFYUI_PATH"])
    import comfy.cli_args

    comfy.cli_args.args.cpu = work.device == "cpu" or not torch.cuda.is_available()
    torch.set_num_threads(work.threads)


# In the process that compares


@dataclass(frozen=True)
class Result:
    """One arm's measurement. seconds: of each step, by block. processor: of a step, by block.

    peak, stepping, growth: bytes, as `Memory` says. told: by the arm, of itself.
    """

    work: Any
    seconds: list[list[float]]
    processor: list[float]
    peak: int
    stepping: int
    growth: int
    told: dict[str, Any]

    @property
    def all_seconds(self) -> list[float]:
        """Seconds of every counted step."""
        return [seconds for block in self.seconds for seconds in block]

    @property
    def typical(self) -> float:
        """Median seconds of a step."""
        return median(self.all_seconds)

    def times(self, other: "Result") -> list[float]:
        """Return how many times as long a step takes as one of `other`, by round."""
        return [median(mine) / median(theirs) for mine, theirs in zip(self.seconds, other.seconds, strict=True)]

    def processor_times(self, other: "Result") -> list[float]:
        """The same of the processor's time."""
        return [mine / theirs for mine, theirs in zip(self.processor, other.processor, strict=True)]


class Arm:
    """A running process of one arm."""

    def __init__(self, work: Work, process: "subprocess.Popen[str]", log: Any) -> None:
        self.work = work
        self._process = process
        self._log = log
        self._seconds: list[list[float]] = []
        self._processor: list[float] = []

    def answer(self) -> dict[str, Any]:
        """Return the arm's next report. Raises RuntimeError with the end of its log if it died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{self.work.arm} ended early:\n" + "".join(self._log.readlines()[-15:]))
        return json.loads(line)

    def take_turn(self, counted: bool) -> None:
        """Let it run one block."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)
        block = self.answer()
        if counted:
            self._seconds.append(block["seconds"])
            self._processor.append(block["processor"])

    def result(self) -> Result:
        """Return everything measured; the arm has run all its blocks."""
        return Result(self.work, self._seconds, self._processor, **self.answer())


def turn_arguments(parser: argparse.ArgumentParser, steps: int, threads: int) -> argparse.Namespace:
    """Return the command line's arguments, those that tell how arms take turns added. steps, threads: the defaults."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=steps, help="steps in a round")
    parser.add_argument("--threads", type=int, default=threads)
    parser.add_argument("--apart", action="store_true", help="one process at a time: less memory, more set-up")
    parser.add_argument("--device", choices=["auto", "cpu"], default="auto", help="auto follows ComfyUI")
    return parser.parse_args()


def compare(
    script: str, works: Sequence[Work], environment: Any, ready: Callable[[list[dict[str, Any]]], None] = lambda _: None
) -> list[Result]:
    """Run the arms turn by turn and return their results; every second round in the opposite order.

    script: the benchmark, run as ``script --arm WORK``. ready: sees what the arms tell before the first step, and may
    raise.
    """
    with ExitStack() as stack:
        arms = []
        told = []
        for work in works:
            arm = stack.enter_context(_started(script, work, environment))
            told.append(arm.answer())  # one set-up at a time
            arms.append(arm)
        ready(told)
        for turn in range(1 + works[0].blocks):
            for arm in arms if turn % 2 else reversed(arms):
                arm.take_turn(counted=turn > 0)
        return [arm.result() for arm in arms]


def compare_apart(script: str, works: Sequence[Work], environment: Any) -> list[Result]:
    """The same with one process at a time, a new one for each arm and round: slower, in the memory of one arm."""
    rounds = []
    for _ in range(works[0].blocks):
        rounds.append([compare(script, [replace(work, blocks=1)], environment)[0] for work in works])
    return [_joined(results) for results in zip(*rounds, strict=True)]


def _joined(results: Sequence[Result]) -> Result:
    """Return one arm's rounds as one result."""
    return replace(
        results[0],
        seconds=[block for result in results for block in result.seconds],
        processor=[block for result in results for block in result.processor],
        peak=max(result.peak for result in results),
        stepping=max(result.stepping for result in results),
        growth=max(result.growth for result in results),
    )


@contextmanager
def _started(script: str, work: Work, environment: Any) -> Iterator[Arm]:
    command = [str(environment.python), str(Path(script).resolve()), ARM, json.dumps(asdict(work))]
    variables = environment.variables() | {"OMP_NUM_THREADS": str(work.threads)}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield Arm(work, process, log)
        finally:
            process.kill()
            process.communicate()
