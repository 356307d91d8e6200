"""Damaged files: three hundred of the ten thousand that `benchmarks/fuzz.py` runs, and that its judge sees failures."""

import json
import sys
from pathlib import Path

import damaged_files
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import fuzz

SEED = 7


@pytest.mark.slow
def test_three_hundred_damaged_files_neither_crash_nor_hang_nor_fill_the_memory(tmp_path: Path) -> None:
    rows = fuzz.fuzz(300, SEED, tmp_path / "rows.jsonl", watch=1000)
    assert [row for row in rows if "failure" in row] == []
    assert len({row["kind"] for row in rows}) == len(damaged_files.kinds())
    outcomes = [row["outcome"].split(":")[0] for row in rows]
    assert outcomes.count("skipped") > 50 and outcomes.count("read") > 50


def test_a_case_is_the_same_every_time() -> None:
    for number in range(60):
        one, again = (damaged_files.make_case(number, SEED) for _ in range(2))
        assert (one.kind, one.damage, one.data) == (again.kind, again.damage, again.data)
    assert damaged_files.make_case(0, SEED).data != damaged_files.make_case(0, SEED + 1).data


def test_the_judge_sees_what_is_not_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise KeyError("odd")

    monkeypatch.setattr(damaged_files, "run_case", fail)
    assert fuzz.measured_case(1, SEED, tmp_path)["failure"] == "KeyError: 'odd'"


def test_the_judge_sees_what_takes_too_long_or_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "LONGEST", -1.0)
    assert fuzz.measured_case(1, SEED, tmp_path / "a")["failure"].startswith("took 0.")
    monkeypatch.setattr(fuzz, "LONGEST", 1e9)
    monkeypatch.setattr(fuzz, "LARGEST", -1)
    assert fuzz.measured_case(1, SEED, tmp_path / "a")["failure"].endswith("bytes")


@pytest.mark.slow
def test_a_dead_worker_is_a_failure_and_a_run_goes_on_behind_its_last_row(tmp_path: Path) -> None:
    worker = fuzz.Worker(SEED)
    worker.end()
    assert "worker" in worker.run(0)["failure"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"case": 0, "outcome": "as it was"}) + "\n")
    told = fuzz.fuzz(2, SEED, rows)
    assert told[0]["outcome"] == "as it was" and [row["case"] for row in told] == [0, 1]
    assert len(rows.read_text().splitlines()) == 2
