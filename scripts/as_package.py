"""Make the repository importable as ``glitch_lora``, whatever its folder is called. Standard library only.

ComfyUI imports a pack by its path; scripts, benchmarks and tests need a name for it.
"""

from __future__ import annotations  # an older Python must get as far as being told which one is needed

import importlib.util
import sys

from environment import ROOT

NAME = "glitch_lora"


def register_pack() -> None:
    """Let ``import glitch_lora.dataset`` find the repository; does nothing the second time."""
    if NAME in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
