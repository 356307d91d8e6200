"""The order of batches: every entry once an epoch, mates of one size, a function of the seed alone."""

import math
from collections import Counter

from glitch_lora.training.batches import BatchOrder, BatchReader
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def orders(draw: st.DrawFn) -> BatchOrder:
    items = draw(st.integers(1, 12))
    groups = tuple(draw(st.sampled_from([(1, 4, 8, 8), (1, 4, 4, 8)])) for _ in range(items))
    variants = tuple(draw(st.integers(1, 3)) for _ in range(items))
    repeats = [draw(st.integers(1, 4)) for _ in range(items)]
    entries = tuple(item for item in range(items) for _ in range(repeats[item]))
    return BatchOrder(entries, groups, variants, draw(st.integers(1, 5)), draw(st.integers(0, 2**63)))


@given(orders(), st.integers(0, 3))
def test_an_epoch_shows_every_entry_once_in_batches_of_one_size(order: BatchOrder, epoch: int) -> None:
    batches = order.epoch(epoch)
    assert len(batches) == order.per_epoch
    assert Counter(draw.item for batch in batches for draw in batch) == Counter(order.entries)
    for batch in batches:
        assert 1 <= len(batch) <= order.batch_size
        assert len({order.groups[draw.item] for draw in batch}) == 1
        assert all(0 <= draw.variant < order.variants[draw.item] for draw in batch)


@given(orders())
def test_reading_from_the_middle_gives_what_reading_through_gives(order: BatchOrder) -> None:
    through = BatchReader(order)
    expected = [through[index] for index in range(3 * order.per_epoch)]
    for index in (len(expected) - 1, 0, len(expected) // 2):
        assert BatchReader(order)[index] == expected[index]


def test_epochs_and_seeds_differ() -> None:
    entries = tuple(range(20))
    order = BatchOrder(entries, ((1,),) * 20, (1,) * 20, 2, seed=0)
    other = BatchOrder(entries, ((1,),) * 20, (1,) * 20, 2, seed=1)
    assert order.epoch(0) != order.epoch(1)
    assert order.epoch(0) != other.epoch(0)
    assert order.epoch(0) == order.epoch(0)


@given(orders())
def test_the_largest_batch_is_one_that_occurs(order: BatchOrder) -> None:
    """The probe must neither refuse what training never asks for nor miss what it does."""
    largest = order.largest()
    need = [len(batch) * math.prod(order.groups[batch[0].item]) for batch in order.epoch(0)]
    assert len(largest) * math.prod(order.groups[largest[0].item]) == max(need)
