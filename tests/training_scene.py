"""A small real training for tests: photographs, tiny models of ComfyUI's own classes, recorded events."""

from pathlib import Path
from typing import Any

import skimage
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.fits import FixedFit
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.framing import Frame
from glitch_lora.host.graph import ComfyGraph
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.session import Request
from PIL import Image
from tiny_models import tiny_clip, tiny_flux, tiny_sd15, tiny_sdxl, tiny_vae

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
MODELS = {"sd15": tiny_sd15, "sdxl": tiny_sdxl, "flux": tiny_flux}


def photographs(folder: Path, count: int = 4, size: int = 64) -> Dataset:
    """Return `count` photographs of scikit-image, shrunk on disk, captioned, framed to `size` pixels square."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(skimage.__file__).parent / "data"
    for name in PHOTOGRAPHS[:count]:
        picture = Image.open(source / name).convert("RGB")
        picture.thumbnail((160, 160))
        picture.save(folder / Path(name).with_suffix(".png").name)
        (folder / name).with_suffix(".txt").write_text(f"a photograph, {Path(name).stem}")
    return load_folder(folder).with_step(Frame(FixedFit(size, size)))


def graph(family: str) -> ComfyGraph:
    """Return tiny MODEL, CLIP and VAE of a family."""
    return ComfyGraph(MODELS[family](), tiny_clip(family), tiny_vae(16 if family == "flux" else 4))


def request(folder: Path, **settings: Any) -> Request:
    """Return a request whose run, LoRA and cache folders lie in `folder`."""
    return Request(
        **{
            "name": "test",
            "root": folder / "runs",
            "loras_folder": folder / "loras",
            "cache_folder": folder / "cache",
            **settings,
        }
    )


def recipe(**settings: Any) -> Recipe:
    """Return a short recipe with a rate high enough to see something move."""
    return Recipe(
        **{"steps": 4, "rank": 4, "alpha": 4.0, "learning_rate": 1e-3, "save_dtype": "fp32", "checkpoint_every": 2}
        | settings
    )


class Events:
    """Records what a training reports; `stop_at` cancels after that step as ComfyUI's Cancel does."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.lines: list[str] = []
        self.steps: list[int] = []
        self.previews: list[tuple[int, Image.Image]] = []
        self._stop_at = stop_at

    def check(self) -> None:
        if self._stop_at is not None and self.steps and self.steps[-1] >= self._stop_at:
            from comfy.model_management import InterruptProcessingException

            raise InterruptProcessingException()

    def status(self, line: str) -> None:
        self.lines.append(line)

    def step(self, step: int, total: int, line: str) -> None:
        self.steps.append(step)
        self.lines.append(line)

    def preview(self, step: int, image: Image.Image) -> None:
        self.previews.append((step, image))
