"""Out-of-place residuals and checkpoints on instances. Oracle: the untouched block's forward, torch's own gradient."""

import pytest
import torch
from glitch_lora.host.blocks import checkpointed, out_of_place
from torch import nn


class Residual(nn.Module):
    """Adds in place to a tensor that its norm saved for the backward pass, as the host's Flux blocks do."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8, elementwise_affine=False)
        self.linear = nn.Linear(8, 8)
        self.calls = 0

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        self.calls += 1
        y = self.linear(self.norm(x))
        x += y
        x *= scale
        return x


def reference(block: Residual, x: torch.Tensor) -> torch.Tensor:
    """The gradient of the block's input, from a forward written without in-place operations."""
    leaf = x.clone().requires_grad_(True)
    y = (leaf + block.linear(block.norm(leaf))) * 2.0
    return torch.autograd.grad(y.square().sum(), leaf)[0]


def gradient(block: Residual, x: torch.Tensor) -> torch.Tensor:
    leaf = x.clone().requires_grad_(True)
    return torch.autograd.grad(block(x=leaf * 1, scale=2.0).square().sum(), leaf)[0]


def test_gradients_are_right_only_out_of_place() -> None:
    torch.manual_seed(0)
    block, x = Residual(), torch.randn(3, 8)
    with pytest.raises(RuntimeError, match="inplace"):
        gradient(block, x)
    with checkpointed([block]):
        wrong = gradient(block, x)  # silently, as the host passes its tensors by name: hence the correction
    with out_of_place([block]), checkpointed([block]):
        right = gradient(block, x)
    assert torch.allclose(right, reference(block, x), rtol=1e-6)
    assert not torch.allclose(wrong, reference(block, x), rtol=1e-2)


def test_the_values_are_the_same_and_the_input_is_left_alone() -> None:
    torch.manual_seed(0)
    block, x = Residual(), torch.randn(3, 8)
    with torch.no_grad():
        stock = block(x.clone(), scale=2.0)
        mine = x.clone()
        with out_of_place([block]):
            assert torch.equal(block(mine, scale=2.0), stock)
        assert torch.equal(mine, x)


def test_a_checkpoint_recomputes_and_only_with_gradients() -> None:
    block, x = Residual(), torch.randn(3, 8)
    with out_of_place([block]), checkpointed([block]):
        gradient(block, x)
        assert block.calls == 2
        with torch.no_grad():
            block(x)
        assert block.calls == 3


def test_forwards_are_put_back_after_an_error() -> None:
    block = Residual()
    own = block.forward = block.forward  # a forward another pack put on the instance
    with pytest.raises(KeyError), out_of_place([block]), checkpointed([block]):
        raise KeyError
    assert block.__dict__["forward"] is own
    other = Residual()
    with out_of_place([other]):
        pass
    assert "forward" not in other.__dict__
