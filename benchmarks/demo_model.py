"""Examine the demo model: ``python3 benchmarks/demo_model.py [--questions N]``.

Asks for 200 single things, half of them pairs of colour and shape that were held out of training, and for 60 counts,
each with a seed of its own, and lets the analytic judges answer. The same judges look at drawings of the same answers,
at random noise, and at the model's pictures against another question's answer (what a model that does not listen, or a
judge that always says the same, would get). Then the first 40 questions again for other guidance scales, step counts
and samplers. The last line says whether the bars hold, for all questions and for the held-out pairs alone: colour right
>= 90 %, shape right >= 80 %, drawings >= 99 %. ``--picture FILE`` writes the first pictures as one sheet.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "scripts"))

COLOUR_BAR, SHAPE_BAR, DRAWN_BAR = 0.90, 0.80, 0.99
VARIED = 40  # questions per other setting
SETTINGS: list[dict[str, Any]] = [
    *({"cfg": cfg} for cfg in (1.0, 2.0, 7.0)),
    *({"steps": steps} for steps in (4, 8, 40)),
    *({"sampler": name} for name in ("dpmpp_2m", "heun", "euler_ancestral")),
]


def main() -> int:
    """Return 0 when the bars hold."""
    from rerun import again_in_environment, in_environment

    arguments = _arguments()
    return _examine(arguments) if in_environment() else again_in_environment(str(Path(__file__).resolve()), ("demo",))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Examine the demo model with analytic judges.")
    parser.add_argument("--questions", type=int, default=200, help="single things asked for (default 200)")
    parser.add_argument("--weights", type=Path, help="another weight file")
    parser.add_argument("--picture", type=Path, help="write a sheet of the first 48 pictures")
    parser.add_argument("--no-settings", action="store_true", help="leave out other guidance, steps and samplers")
    return parser.parse_args()


def _examine(arguments: argparse.Namespace) -> int:
    from demo_pictures import import_host, pictures

    import_host()
    from glitch_lora.demo.questions import count_questions, single_questions
    from glitch_lora.host.demo_model import WEIGHTS, load_demo_model

    started = time.perf_counter()
    parts = load_demo_model(arguments.weights or WEIGHTS)
    print(f"loaded in {time.perf_counter() - started:.2f} s")
    single, counts = single_questions(arguments.questions), count_questions()
    started = time.perf_counter()
    drawn = _ask(parts, [*single, *counts])
    seconds = (time.perf_counter() - started) / len(drawn)
    print(f"{seconds:.2f} s a picture (20 steps, guidance 4, batches of 20)\n")
    print(f"{'':34}{'asked':>7}{'colour':>9}{'shape':>9}{'count':>9}{'all':>9}")
    _row("drawings of the answers", single, _drawings(single))
    _row("random noise", single, _noise(len(single)))
    whole = _row("model", single, drawn[: len(single)])
    _row("model, another question's answer", single, drawn[7 : len(single)] + drawn[:7])
    for name, held_out in (("model, pairs seen in training", False), ("model, pairs held out", True)):
        some = [index for index, question in enumerate(single) if question.held_out is held_out]
        right = _row(name, [single[index] for index in some], [drawn[index] for index in some])
    _row("model, two to four of a kind", counts, drawn[len(single) :])
    if not arguments.no_settings:
        few = single[:VARIED]
        for settings in SETTINGS:
            (name, value), *_ = settings.items()
            prompts, seeds = [q.prompt for q in few], [q.seed for q in few]
            _row(f"model, {name} {value}", few, pictures(parts, prompts, seeds, **settings))
    if arguments.picture:
        _sheet(arguments.picture, drawn[:40] + drawn[len(single) : len(single) + 8])
    drawn_right = min(_right(single, _drawings(single)))
    holds = drawn_right >= DRAWN_BAR and all(
        colour >= COLOUR_BAR and shape >= SHAPE_BAR for colour, shape, *_ in (whole, right)
    )
    print(
        f"\nbars (colour {COLOUR_BAR:.0%}, shape {SHAPE_BAR:.0%}, drawings {DRAWN_BAR:.0%}) "
        f"{'hold' if holds else 'DO NOT HOLD'}"
    )
    return 0 if holds else 1


def _ask(parts: Any, questions: Sequence[Any]) -> list[Any]:
    from demo_pictures import pictures

    return pictures(parts, [question.prompt for question in questions], [question.seed for question in questions])


def _drawings(questions: Sequence[Any]) -> list[Any]:
    from glitch_lora.demo.scenes import draw, one_thing

    return [draw(one_thing(q.shape, q.colour, q.background, seed=q.seed)) for q in questions]


def _noise(count: int) -> list[Any]:
    import numpy as np

    generator = np.random.Generator(np.random.PCG64(0))
    return [generator.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(count)]


def _row(name: str, questions: Sequence[Any], drawn: Sequence[Any]) -> tuple[float, ...]:
    right = _right(questions, drawn)
    print(f"{name:34}{len(questions):7}" + "".join(f"{part:9.1%}" for part in right), flush=True)
    return right


def _right(questions: Sequence[Any], drawn: Sequence[Any]) -> tuple[float, ...]:
    from glitch_lora.demo.judges import judge

    answers = [(q, judge(picture)) for q, picture in zip(questions, drawn, strict=True)]
    right = [(q.colour == s.colour, q.shape == s.shape, q.count == s.count) for q, s in answers]
    columns = [*zip(*right, strict=True), [all(one) for one in right]]
    return tuple(sum(column) / len(right) for column in columns)


def _sheet(path: Path, drawn: Sequence[Any]) -> None:
    import numpy as np
    from PIL import Image

    rows = [np.concatenate(drawn[start : start + 12], axis=1) for start in range(0, len(drawn) - 11, 12)]
    sheet = Image.fromarray(np.concatenate(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).save(path, quality=90)
    print(path)


if __name__ == "__main__":
    sys.exit(main())
