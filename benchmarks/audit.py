"""Does the audit find what is planted, and nothing else, and how fast? ``python3 benchmarks/audit.py [options]``.

Two parts. A folder of real photographs in which each kind of defect is planted (`tests/planted_defects.py`): every one
has to be found and no clean picture may be flagged. And a folder of 1,000 pictures of 1 megapixel, whose bar is two
minutes on two cores; processor time is told too, as it does not depend on what else the machine does.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for _folder in ("scripts", "tests"):
    sys.path.append(str(ROOT / _folder))

from rerun import again_in_environment, in_environment  # noqa: E402  (scripts/ is on the path only now)

if __name__ == "__main__" and not in_environment():
    sys.exit(again_in_environment(str(Path(__file__).resolve())))

import numpy as np  # noqa: E402
from as_package import register_pack  # noqa: E402
from PIL import Image  # noqa: E402
from planted_defects import clean_pictures, planted  # noqa: E402

BAR = 120.0


def judged(
    folder: Path, truth: dict[str, set[str]]
) -> tuple[Counter[str], list[tuple[str, str]], list[tuple[str, str]]]:
    """Return (found by kind, missed, false alarms), the latter as (file, kind)."""
    from glitch_lora.dataset.audit import audit
    from glitch_lora.dataset.folder import load_folder

    seen = {(found.name, found.kind) for found in audit(load_folder(folder), "prtkl").findings if found.name}
    wanted = {(name, kind) for name, kinds in truth.items() for kind in kinds}
    return Counter(kind for _, kind in seen & wanted), sorted(wanted - seen), sorted(seen - wanted)


def hit_rate(count: int, of_each: int, seeds: Iterable[int]) -> bool:
    """Print what was found in folders of `count` pictures; return whether all was, and nothing else."""
    good = True
    for seed in seeds:
        with tempfile.TemporaryDirectory() as place:
            truth = planted(Path(place) / "planted", count, of_each, seed)
            found, missed, alarms = judged(Path(place) / "planted", truth)
        clean = sum(not kinds for kinds in truth.values())
        print(f"seed {seed}: {len(truth)} files, {clean} clean, found {found.total()} of {found.total() + len(missed)}")
        print("  " + ", ".join(f"{kind} {number}" for kind, number in sorted(found.items())))
        print(f"  missed: {missed or 'none'}; false alarms: {alarms or 'none'}")
        good &= not missed and not alarms
    return good


def speed(count: int, kind: str) -> bool:
    """Print how long `count` pictures of 1 megapixel take; return whether the bar holds for 1,000."""
    from glitch_lora.dataset.audit import audit
    from glitch_lora.dataset.folder import load_folder

    with tempfile.TemporaryDirectory() as place:
        _megapixels(Path(place), count, kind)
        started, used = time.perf_counter(), time.process_time()
        dataset = load_folder(Path(place))
        loaded, loaded_used = time.perf_counter(), time.process_time()
        audit(dataset)
        took, worked = time.perf_counter() - loaded, time.process_time() - loaded_used
    print(
        f"{count} {kind} of 1 megapixel: loading {loaded - started:.1f} s ({loaded_used - used:.1f} s of work), ",
        end="",
    )
    print(f"audit {took:.1f} s ({worked:.1f} s of work on two threads)")
    holds = took / count * 1000 < BAR
    print(f"  the bar, {BAR:.0f} s for 1,000: {'holds' if holds else 'broken'}")
    return holds


def _megapixels(folder: Path, count: int, kind: str) -> None:
    rng = np.random.default_rng(1)
    pieces = clean_pictures(min(count, 50), rng)
    for number in range(count):
        image = pieces[number % len(pieces)].resize((1024, 1024), Image.Resampling.BICUBIC)
        left, top = (int(start) for start in rng.integers(0, 200, 2))
        image = image.crop((left, top, 1024, 1024)).resize((1024, 1024), Image.Resampling.BICUBIC)
        image.save(folder / f"{number:05}.{kind}", quality=92, compress_level=1)
        (folder / f"{number:05}.txt").write_text(f"prtkl, a red picture number {number}")


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200, help="files in the folder with planted defects")
    parser.add_argument("--of-each", type=int, default=6, help="files with each kind of defect")
    parser.add_argument("--seeds", type=int, default=1, help="so many folders")
    parser.add_argument("--speed", type=int, default=1000, help="pictures of 1 megapixel; 0 leaves that part out")
    parser.add_argument("--keep", type=Path, help="write the first folder here too, to look at")
    options = parser.parse_args()
    register_pack()
    if options.keep:
        shutil.rmtree(options.keep, ignore_errors=True)
        planted(options.keep, options.pictures, options.of_each)
    good = hit_rate(options.pictures, options.of_each, range(options.seeds))
    if options.speed:
        good &= all([speed(options.speed, kind) for kind in ("jpg", "png")])
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
