"""Corruptions of captions: what holds for every one.

Oracle: the rules themselves, checked on random text and on a dataset whose items come in another order.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset, Item
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import all_operations, find_operation
from glitch_lora.glitch.step import corruption
from hypothesis import example, given, settings
from hypothesis import strategies as st

OPERATIONS = all_operations("captions")
NAMES = [operation.name for operation in OPERATIONS]
CAPTIONS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Co"]), max_size=80)
WORDS = ("a red cat", "two old men", "wooden table", "Bright sunlight.", "on the left", "it's a car", "猫", "one. Two!")
# Settings with which an operation has something to do whatever the caption.
BUSY = {"glitch_tags": {"clean_word": "clean"}}


def words_of(name: str) -> dict[str, object]:
    return BUSY.get(name, {})


def parameters(name: str) -> st.SearchStrategy:
    """Draw allowed values for every parameter of an operation."""

    def one(parameter):
        if parameter.choices:
            return st.sampled_from(parameter.choices)
        if isinstance(parameter.default, bool):
            return st.booleans()
        if isinstance(parameter.default, str):
            return st.text(max_size=12) | st.just("cat=Katze\nred=rot")
        if isinstance(parameter.default, float):
            return st.floats(parameter.minimum, parameter.maximum)
        return st.integers(int(parameter.minimum), min(int(parameter.maximum), 60))

    drawn = {parameter.name: one(parameter) for parameter in find_operation(name).parameters}
    return st.fixed_dictionaries(drawn)


def company(caption: str, others: list[str], triggers: tuple[str, ...] = ()) -> Context:
    """Return the context of a caption that comes last among others."""
    return Context(
        (*others, caption), len(others), lambda: generator(5, "shared"), triggers, (("generation_loss", 1.0),)
    )


def dataset(captions: list[str]) -> Dataset:
    """Return a dataset without pictures: captions need none."""
    items = (
        Item(Path(f"{number}.png"), f"{number}.png", caption, 1, f"{number:064x}", (8, 8))
        for number, caption in enumerate(captions)
    )
    return Dataset(tuple(items))


def scenes(count: int) -> Dataset:
    """Return a dataset of so many different captions with a trigger word."""
    draw = generator(1, "scenes")
    texts = [", ".join(draw.permutation(WORDS)[:5]) + f", number {number}" for number in range(count)]
    return dataset(texts).with_step(TriggerWord("prtkl"))


def captions(found: Dataset) -> dict[str, str]:
    return {item.name: found.caption(index) for index, item in enumerate(found.items)}


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), caption=CAPTIONS, others=st.lists(CAPTIONS, max_size=4), severity=st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_out_as_text_the_same_each_time(name: str, data, caption, others, severity: float) -> None:
    operation, values, seed = find_operation(name), data.draw(parameters(name)), data.draw(st.integers(0, 2**40))
    context = company(caption, others, tuple(data.draw(st.sampled_from([(), ("cat",), ("prtkl", "a cat")]))))
    once = operation.apply(caption, generator(seed), severity, context, **values)
    assert once == operation.apply(caption, generator(seed), severity, context, **values)
    assert isinstance(once, str) and once.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass") == once


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data(), caption=CAPTIONS, seed=st.integers(0, 2**40))
@settings(max_examples=20, deadline=None)
def test_a_caption_alone_is_no_problem_and_severity_0_changes_nothing(name: str, data, caption: str, seed: int) -> None:
    values = data.draw(parameters(name))
    assert isinstance(find_operation(name).apply(caption, generator(seed), 1.0, **values), str)
    assert find_operation(name).apply(caption, generator(seed), 0.0, company(caption, ["b"]), **values) == caption


@pytest.mark.parametrize("name", [name for name in NAMES if name != "trigger_corruption"])
@given(
    data=st.data(),
    parts=st.lists(st.sampled_from(WORDS), max_size=6),
    severity=st.floats(0.01, 1),
    seed=st.integers(0, 2**40),
)
@settings(max_examples=40, deadline=None)
def test_triggers_stay(name: str, data, parts: list[str], severity: float, seed: int) -> None:
    triggers = data.draw(st.sampled_from([("prtkl",), ("prtkl", "in foo, bar"), ("old style", "glx_jpeg")]))
    caption = ", ".join(data.draw(st.permutations([*parts, *triggers])))
    values = data.draw(parameters(name)) | ({"keep_triggers": True} if name == "caption_dropout" else {})
    context = company(caption, ["something else", "prtkl, a dog"], triggers)
    found = find_operation(name).apply(caption, generator(seed), severity, context, **values)
    assert [trigger for trigger in triggers if trigger not in found] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_does_something_and_draws_if_it_says_so(name: str) -> None:
    before, step = scenes(30), corruption(name, words_of(name), seed=1)
    found = captions(before.with_step(step))
    assert found != captions(before)
    assert found == captions(before.with_step(corruption(name, words_of(name), seed=1)))
    half = replace(step, severity=0.5)  # at severity 1 some leave nothing to chance
    drawn = {json.dumps(captions(before.with_step(replace(half, seed=seed)))) for seed in range(4)}
    assert (len(drawn) > 1) == find_operation(name).draws


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_items_does_not_matter(name: str) -> None:
    before = scenes(12)
    step = corruption(name, words_of(name), severity=0.7, severity_jitter=0.2, fraction=0.8)
    turned = replace(before, items=before.items[::-1])
    assert captions(before.with_step(step)) == captions(turned.with_step(step))


@pytest.mark.parametrize("name", NAMES)
def test_more_severity_changes_more_captions(name: str) -> None:
    before = scenes(60)
    shares = []
    for severity in np.linspace(0, 1, 11):
        after = captions(before.with_step(corruption(name, words_of(name), severity=float(severity))))
        shares.append(sum(after[key] != caption for key, caption in captions(before).items()) / 60)
    assert shares[0] == 0 and shares == sorted(shares) and shares[-1] > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_is_complete(name: str) -> None:
    operation = find_operation(name)
    assert operation.name == operation.function.__name__ and operation.subject == "captions"
    assert operation.summary.endswith(".") and operation.family
    for parameter in operation.parameters:
        assert parameter.help and not parameter.help.endswith(".")
        assert parameter.checked(parameter.default) == parameter.default
    json.dumps(corruption(name).describe())


def test_random_state_is_left_alone(unchanged_random_state: None) -> None:
    for name in NAMES:
        find_operation(name).apply("prtkl, a red cat", generator(0), 1.0, company("prtkl, a red cat", ["b c"]))


@given(st.lists(CAPTIONS, min_size=1, max_size=3))
@example(["\x00", "a,,b"])
def test_a_chain_of_everything_runs(texts: list[str]) -> None:
    chain = dataset(texts)
    for name in NAMES:
        chain = chain.with_step(corruption(name))
    assert all(isinstance(caption, str) for caption in captions(chain).values())
