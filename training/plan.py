"""What a training will take, told before the first step: memory, disk, time."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .recipe import Recipe

_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}
_GIB = 1024**3
_SAMPLE_EVERY_SECONDS = 0.01


@dataclass
class Measured:
    """seconds: wall time. peak_bytes: most memory used on the device (on the CPU: by the process)."""

    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True)
class Plan:
    """steps: updates still to make. checkpoints: files still to write, of `checkpoint_bytes` each.

    state_bytes: one training state; while a new one is written the old one is there too.
    """

    steps: int
    checkpoints: int
    checkpoint_bytes: int
    state_bytes: int
    probe: Measured
    forwards_per_step: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def disk_bytes(self) -> int:
        """Bytes the training will write and keep, at its fullest moment."""
        return (self.checkpoints + 1) * self.checkpoint_bytes + 2 * self.state_bytes

    @property
    def seconds(self) -> float:
        """Estimated wall time, previews not counted."""
        return self.steps * self.forwards_per_step * self.probe.seconds

    def text(self) -> str:
        """Return the plan as one line."""
        memory, disk = self.probe.peak_bytes / _GIB, self.disk_bytes / _GIB
        return (
            f"Plan: {self.steps} steps, about {duration(self.seconds)}; {memory:.1f} GiB of memory on "
            f"{self.device.type} for the largest pictures; {disk:.2f} GiB of disk for {self.checkpoints} checkpoints"
        )

    def require_disk(self, folder: Path) -> None:
        """Raise OSError when `folder`'s disk has less free than the plan needs."""
        free = shutil.disk_usage(folder).free
        if free < self.disk_bytes:
            raise OSError(
                f"disk: got {free / _GIB:.2f} GiB free in {folder.name}, needed {self.disk_bytes / _GIB:.2f} GiB for "
                f"{self.checkpoints} checkpoints, make room, save fewer checkpoints, or lower the rank or saved dtype"
            )


def make_plan(recipe: Recipe, parameters: int, done: int, until: int, probe: Measured, device: torch.device) -> Plan:
    """Return the plan for going from step `done` to step `until` with `parameters` trained values."""
    every = recipe.checkpoint_every
    checkpoints = (until // every - done // every if every else 0) + (1 if not every or until % every else 0)
    return Plan(
        steps=until - done,
        checkpoints=checkpoints,
        checkpoint_bytes=parameters * _BYTES[recipe.save_dtype],
        state_bytes=parameters * 4 * 3,  # the adapters and AdamW's two moments, fp32
        probe=probe,
        forwards_per_step=recipe.grad_accumulation_steps,
        device=device,
    )


@contextmanager
def measured(device: torch.device) -> Iterator[Measured]:
    """Measure time and peak memory of the block; the result is filled in when it ends."""
    result = Measured()
    watch = _cuda_peak(device) if device.type == "cuda" else _process_peak()
    started = time.perf_counter()
    with watch as peak:
        yield result
        result.peak_bytes = peak()
    result.seconds = time.perf_counter() - started


@contextmanager
def explained_memory_errors(recipe: Recipe) -> Iterator[None]:
    """Turn an out-of-memory error of the block into one that says what to lower."""
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU allocator raises a plain one
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        lower = ["the training resolution (Frame Dataset)", "the rank or the target modules"]
        if recipe.batch_size > 1:
            lower.insert(0, f"batch_size (now {recipe.batch_size}; grad_accumulation_steps keeps the effect)")
        if not recipe.gradient_checkpointing:
            lower.insert(0, "memory by turning gradient_checkpointing on")
        raise RuntimeError(
            f"memory: one step on the largest pictures does not fit ({str(error).splitlines()[0]}), "
            f"lower {', or '.join(lower)}"
        ) from error


def duration(seconds: float) -> str:
    """Return a time for people: "42 s", "3 min 20 s", "5 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def _cuda_peak(device: torch.device) -> Iterator[Callable[[], int]]:
    torch.cuda.reset_peak_memory_stats(device)
    yield lambda: torch.cuda.max_memory_allocated(device)


@contextmanager
def _process_peak() -> Iterator[Callable[[], int]]:
    import psutil

    process, ended = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss]

    def watch() -> None:
        while not ended.wait(_SAMPLE_EVERY_SECONDS):
            seen.append(max(seen.pop(), process.memory_info().rss))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: max([*seen, process.memory_info().rss])
    finally:
        ended.set()
        thread.join()
