"""Learning rates. Oracle: diffusers' get_scheduler for the same names."""

import pytest
import torch
from glitch_lora.training.schedule import depends_on_length, learning_rate_factor


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
@pytest.mark.parametrize("warmup", [0, 10])
def test_factors_are_diffusers(schedule: str, warmup: int) -> None:
    from diffusers.optimization import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    scheduler = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=50)
    for step in range(50):
        ours = learning_rate_factor(schedule, step, 50, warmup)
        assert ours == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("cycles", [1, 3])
def test_restarts_are_diffusers(cycles: int) -> None:
    from diffusers.optimization import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(
        "cosine_with_restarts",
        optimizer,
        num_warmup_steps=5,
        num_training_steps=50,
        num_cycles=cycles,
    )
    for step in range(50):
        ours = learning_rate_factor("cosine_with_restarts", step, 50, 5, cycles)
        assert ours == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_only_the_constant_schedule_can_be_continued() -> None:
    assert [depends_on_length(name) for name in ("constant", "cosine", "cosine_with_restarts")] == [False, True, True]
