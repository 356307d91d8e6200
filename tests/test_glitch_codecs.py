"""Compression by WebP, AVIF and JPEG 2000. Oracles: Pillow's codecs called directly, scikit-image's noise ratio."""

import io

import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image, features
from skimage.metrics import peak_signal_noise_ratio

CODECS = {"webp_compression": "WEBP", "avif_compression": "AVIF"}


def apply(name: str, image: Image.Image, severity: float = 1.0, **values) -> Image.Image:
    return find_operation(name).apply(image, generator(0), severity, **values)


@pytest.mark.parametrize(
    ("name", "settings"), [("webp_compression", {"method": 2}), ("avif_compression", {"speed": 10})]
)
@pytest.mark.parametrize("quality", [1, 40, 95])
def test_at_full_size_it_is_pillows_codec(name: str, settings, quality: int) -> None:
    image, buffer = photograph("coffee"), io.BytesIO()
    image.save(buffer, CODECS[name], quality=quality, **settings)
    expected = Image.open(buffer).convert("RGB")
    assert apply(name, image, quality=quality, coded_size=1.0).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", CODECS)
def test_a_smaller_coded_size_takes_detail_away(name: str) -> None:
    def detail(size: float) -> float:
        found = np.asarray(apply(name, photograph("chelsea"), quality=80, coded_size=size), float)
        return np.abs(np.diff(found, axis=1)).mean()

    assert detail(1.0) > detail(0.5) > detail(0.2)


@pytest.mark.parametrize("photo", ["astronaut", "chelsea", "camera"])
@pytest.mark.parametrize("fidelity", [8.0, 15.0, 25.0])
def test_jpeg_2000_keeps_the_fidelity_that_was_asked_for(photo: str, fidelity: float) -> None:
    image = photograph(photo)
    pixels = np.asarray(image)
    found = np.asarray(apply("jpeg2000_compression", image, fidelity=fidelity))
    expected = fidelity + 20 * np.log10(255 / pixels.std(axis=(0, 1)).mean())
    assert abs(peak_signal_noise_ratio(pixels, found) - expected) < 1.5


def test_a_pillow_without_the_codec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda feature: False)
    with pytest.raises(RuntimeError, match="a Pillow without AVIF, needed one with it"):
        apply("avif_compression", photograph("coffee"))
