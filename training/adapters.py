"""LoRA adapters in a network, by PEFT, and the tensors in them."""

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .lora_file import Adapter
from .randomness import seeded

_NAME = "default"


class LoraAdapters:
    """The adapters injected into one network: their parameters, and their state by layer path."""

    def __init__(
        self, network: nn.Module, layers: Sequence[str], *, rank: int, alpha: float, dropout: float, seed: int
    ) -> None:
        """Inject fp32 adapters into `layers`, initialised as a function of `seed`: A uniform as PEFT's
        default (He et al. 2015, a = sqrt 5), B zero.

        Raises ValueError when no layer is named.
        """
        if not layers:
            raise ValueError(
                "target_modules: got no matching layer in this model, allowed a choice that it has, choose another one"
            )
        from peft import LoraConfig, inject_adapter_in_model

        # A pattern, since PEFT matches a list of names by suffix and would adapt more layers than named.
        pattern = "|".join(re.escape(path) for path in layers)
        config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=pattern, bias="none")
        with seeded(seed, "adapters"):
            inject_adapter_in_model(config, network, adapter_name=_NAME)
        self.rank = rank
        self.alpha = alpha
        self.layers = {path: network.get_submodule(path) for path in layers}
        # PEFT makes adapters in the base's dtype: drawn again, so that they are fp32 and a function of the seed alone.
        with seeded(seed, "adapters"):
            for layer in self.layers.values():
                for part in (layer.lora_A[_NAME], layer.lora_B[_NAME]):
                    part.weight.data = torch.zeros_like(part.weight, dtype=torch.float32)
                down = torch.empty(layer.lora_A[_NAME].weight.shape)
                layer.lora_A[_NAME].weight.data.copy_(nn.init.kaiming_uniform_(down, a=math.sqrt(5)))

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters as ``<layer path>.lora_A`` and ``<layer path>.lora_B``, in layer order."""
        return {
            f"{path}.{part}": getattr(layer, part)[_NAME].weight
            for path, layer in self.layers.items()
            for part in ("lora_A", "lora_B")
        }

    def state(self) -> dict[str, Tensor]:
        """Return copies of the parameters on the CPU, fp32, by the same names."""
        return {name: p.detach().to("cpu", copy=True) for name, p in self.named_parameters().items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Put the values of `state` back in. Raises KeyError if a parameter is missing."""
        with torch.no_grad():
            for name, parameter in self.named_parameters().items():
                parameter.copy_(state[name])

    def exported(self) -> dict[str, Adapter]:
        """Return the adapters by layer path, as a LoRA file stores them."""
        state = self.state()
        return {path: Adapter(state[f"{path}.lora_A"], state[f"{path}.lora_B"], self.alpha) for path in self.layers}

    def train(self, training: bool) -> None:
        """Switch dropout on for a training step, off for a preview."""
        for layer in self.layers.values():
            layer.lora_dropout.train(training)
