"""Names that are told instead of a wrong one. Oracle: the lists."""

import pytest
from glitch_lora.dataset.near_names import near_names
from glitch_lora.glitch.registry import find_operation


def test_few_names_are_told_whole_and_of_many_the_nearest() -> None:
    assert near_names("x", ["b", "a"]) == "['b', 'a']"
    many = [f"number_{index}" for index in range(60)]
    told = near_names("number_4", many)
    assert told.startswith("60 names, most like it number_4, ") and len(told) < 80
    assert near_names(None, many).startswith("60 names")


def test_a_mistyped_operation_is_told_its_nearest_neighbours() -> None:
    with pytest.raises(ValueError, match=r"operation: got 'jpeg_recompresion', allowed \d+ names.*jpeg_recompression"):
        find_operation("jpeg_recompresion")
