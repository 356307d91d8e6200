"""Which way of training binds a style to a word? ``python3 benchmarks/word_studies.py [ARM ...]`` asks the demo model.

base-*      the model before training, and the dataset itself: what the others are measured against.
pace        how long a step of each way takes; from it come the steps that fit into the same time.
tune-*      a short list of rates for each way, on prompts and a training seed of their own.
WORD-WAY-N  a training with seed N on the same dataset: half of it in the style with the word in its captions, half
            plain without it. WORD is a made-up word or one that the model knows, WAY a way of training
            (word_studies_ways.py).

Each training then draws held-out prompts with the word and without it, and prompts for what the known word used to
mean. A finished arm is a line of DIR/rows.jsonl and is not run again. All arms take about an hour of one free core.
``--docs`` writes the tables and grids into docs/word-studies.md and docs/images.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from studies import Studies, Trained, arguments, mean
from style_questions import StyleQuestion, right
from word_studies_page import LOSS_STEPS, SHOWN, document, moved
from word_studies_questions import STYLE, dataset, old_questions, questions, styled_pictures, tuning_questions
from word_studies_ways import KNOWN, NONCE, SEEDS, SETTINGS_OF, STEPS_OF, TRAINED, WAYS, WITH_LORA

BUDGET = 30.0  # seconds of one core for each training
PACE_STEPS, PACE_ROUNDS = 8, 3
SAMPLER_STEPS = 10
TUNE_SEED = 100


def main() -> int:
    """Return 0: what there is to find is not for a bar to say."""
    from rerun import again_in_environment, in_environment

    given = arguments(
        "Measure which way of training binds a style to a word.",
        ARMS,
        "word-studies",
        "write docs/word-studies.md and its grids",
    )
    if not in_environment():
        return again_in_environment(str(Path(__file__).resolve()), ("demo",))
    import torch
    from demo_pictures import import_host

    import_host()
    torch.set_num_threads(1)  # so that the process's seconds are those of one core
    studies = Studies(given.work)
    for name in given.arms:
        studies.run(name, ARMS[name])
    if given.docs:
        document(studies, {name: row for name in ARMS if (row := studies.row(name))})
    return 0


# What is measured


def _measured(parts: Any, questions: Sequence[StyleQuestion], word: str = "") -> tuple[dict[str, Any], list[Any]]:
    """Return, for each question, the amount of the style and whether the content is right; and the pictures."""
    from demo_pictures import pictures
    from glitch_lora.demo.styles import STYLES

    prompts = [f"{word}, {question.prompt}" if word else question.prompt for question in questions]
    drawn = pictures(parts, prompts, [question.seed for question in questions], steps=SAMPLER_STEPS)
    row = {
        "style": [round(STYLES[STYLE].measure(picture), 4) for picture in drawn],
        "right": [all(right(STYLE, *each)) for each in zip(questions, drawn, strict=True)],
    }
    return row, drawn


def _everything(parts: Any, word: str) -> tuple[dict[str, Any], list[list[Any]]]:
    """Return what is measured of a model for a word, and the first pictures with the word, without it and of old."""
    groups = {"with": (questions(), word), "without": (questions(), ""), "old": (old_questions(), "")}
    found = {name: _measured(parts, *asked) for name, asked in groups.items()}
    return {name: row for name, (row, _) in found.items()}, [drawn for _, drawn in found.values()]


def _base(word: str, studies: Studies) -> dict[str, Any]:
    import numpy as np
    from glitch_lora.demo.styles import STYLES

    row, drawn = _everything(studies.parts, word)
    _keep(studies, f"base-{word}", drawn)
    tuning, _ = _measured(studies.parts, tuning_questions(), word)
    tuned_without, _ = _measured(studies.parts, tuning_questions())
    styled = styled_pictures(STYLE, 0)
    goal = mean(STYLES[STYLE].measure, [one.pixels for one in styled])
    seen = [all(right(STYLE, _of_caption(one.caption), np.asarray(one.pixels))) for one in styled]
    tune = {"with": tuning, "without": tuned_without}
    return row | {"tune": tune, "goal": goal, "dataset right": seen}


def _of_caption(caption: str) -> StyleQuestion:
    colour, shape = caption.split()[1:3]
    return StyleQuestion(caption, "", 0, colour, shape)


# Trainings


def _pace(studies: Studies) -> dict[str, Any]:
    """Return the seconds that each way takes for a step: the fastest of some rounds in turn, the mean of all steps."""
    import numpy as np

    rounds: dict[str, list[Any]] = {name: [] for name in WAYS if name not in STEPS_OF}
    for name in [*rounds] * PACE_ROUNDS:
        settings = WAYS[SETTINGS_OF.get(name, name)].settings[-1]
        trained = _train(studies, f"pace-{name}", NONCE, WAYS[name].recipe(NONCE, *settings), PACE_STEPS, 0)
        rounds[name].append(np.diff(trained.clock))
    return {name: float(np.min(found, axis=0).mean()) for name, found in rounds.items()}


def _train(studies: Studies, name: str, word: str, recipe: dict[str, Any], steps: int, seed: int) -> Trained:
    return studies.train(name, dataset(studies, word), steps=steps, checkpoint_every=0, seed=seed, **recipe)


def _steps(studies: Studies, name: str) -> int:
    return max(1, round(BUDGET / _needed(studies, "pace")[STEPS_OF.get(name, name)]))


def _needed(studies: Studies, arm: str) -> dict[str, Any]:
    """Return the row of an arm, which is run if it was not yet."""
    if not studies.row(arm):
        studies.run(arm, ARMS[arm])
    return studies.row(arm)


def _recipe(studies: Studies, name: str, word: str, settings: Sequence[float]) -> dict[str, Any]:
    rate = {"learning_rate": _chosen(studies, "lora")[0]} if name in WITH_LORA else {}
    return rate | WAYS[name].recipe(word, *settings)


def _chosen(studies: Studies, name: str) -> tuple[float, ...]:
    """Return the settings of a way that did best on the tuning questions."""
    name = SETTINGS_OF.get(name, name)
    if len(WAYS[name].settings) == 1:
        return WAYS[name].settings[0]
    rows = {settings: _needed(studies, f"tune-{name}-{_written(settings)}") for settings in WAYS[name].settings}
    return max(rows, key=lambda settings: rows[settings]["score"])


def _written(settings: Sequence[float]) -> str:
    return "-".join(f"{number:g}" for number in settings)


def _tune(name: str, settings: Sequence[float], studies: Studies) -> dict[str, Any]:
    """Train with some settings; the score is how much more of the style comes with the word, plus the content kept."""
    label = f"tune-{name}-{_written(settings)}"
    steps = _steps(studies, name)
    trained = _train(studies, label, NONCE, _recipe(studies, name, NONCE, settings), steps, TUNE_SEED)
    parts = studies.with_checkpoint(trained.checkpoints[steps])
    asked = {group: _measured(parts, tuning_questions(), word)[0] for group, word in (("with", NONCE), ("without", ""))}
    base = _needed(studies, f"base-{NONCE}")
    reached, leaked = (moved(asked[group], base["tune"][group], base["goal"]).mean() for group in asked)
    kept = sum(asked["with"]["right"]) / len(asked["with"]["right"])
    row = {"way": name, "settings": list(settings), "steps": steps, "reached": reached, "leaked": leaked, "kept": kept}
    return row | {"score": reached - leaked + kept}


def _arm(word: str, name: str, seed: int, studies: Studies) -> dict[str, Any]:
    """Train and measure; a word's journey is told too."""
    settings, steps = _chosen(studies, name), _steps(studies, name)
    recipe = _recipe(studies, name, word, settings)
    label = f"{word}-{name}-{seed}"
    trained = _train(studies, label, word, recipe, steps, seed)
    row, drawn = _everything(studies.with_checkpoint(trained.checkpoints[steps]), word)
    _keep(studies, label, drawn)
    about = {"word": word, "way": name, "seed": seed, "settings": list(settings), "steps": steps}
    about["train_seconds"] = round(trained.clock[-1] - trained.clock[0], 1)
    about["loss"] = round(mean(float, trained.losses[slice(*LOSS_STEPS)]), 5)
    return about | _journey(studies, trained.checkpoints[steps], recipe, word, seed) | row


def _journey(studies: Studies, tensors: dict[str, Any], recipe: dict[str, Any], word: str, seed: int) -> dict[str, Any]:
    """Return how far a word's vectors went, and their mean length; both against the lengths in the token table."""
    from glitch_lora.host.text_model import private_text
    from glitch_lora.training.embeddings import Embeddings
    from glitch_lora.training.words import split_bundle

    if not recipe.get("embeddings"):
        return {}
    ended = split_bundle(tensors)[1][word]["clip_l"]
    with private_text(studies.parts[1]) as text:
        began = Embeddings(text, recipe["embeddings"], {}, seed).exported()[word]["clip_l"]
        usual = text.table("clip_l").norm(dim=1).median()
    lengths = {"moved": (ended - began).norm(dim=1), "length": ended.norm(dim=1)}
    return {f"word {name}": float((found / usual).mean()) for name, found in lengths.items()}


def _keep(studies: Studies, name: str, groups: Sequence[Sequence[Any]]) -> None:
    """Keep one picture of each group on every ground for the grids."""
    import numpy as np

    np.save(studies.work / f"pictures-{name}.npy", np.stack([[group[n] for n in SHOWN] for group in groups]))


ARMS: dict[str, Callable[[Studies], dict[str, Any]]] = {
    **{f"base-{word}": partial(_base, word) for word in (NONCE, KNOWN)},
    "pace": _pace,
    **{
        f"tune-{name}-{_written(each)}": partial(_tune, name, each)
        for name, way in WAYS.items()
        for each in way.settings
        if len(way.settings) > 1
    },
    **{f"{word}-{name}-{seed}": partial(_arm, word, name, seed) for seed in SEEDS for word, name in TRAINED},
}


if __name__ == "__main__":
    sys.exit(main())
