"""Sound effects on pixels. Oracles: FFmpeg's G.711 decoders (PyAV), scipy's filters on the plain row of samples."""

import av
import numpy as np
import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.pictures.samples import FORMATS, octets_of, samples_of
from glitch_lora.glitch.pictures.sound_effects import EFFECTS, Knobs
from glitch_lora.glitch.registry import find_operation
from photographs import photograph
from PIL import Image
from scipy.signal import freqz, lfilter

KNOBS = Knobs(delay=7, feedback=0.6, sweeps=3.0, phase=0.5, cutoff=0.1)
CODES = np.arange(256, dtype=np.uint8)


def sound(length: int = 4000) -> np.ndarray:
    return generator(length, "sound").uniform(-1, 1, length).astype(np.float32)


def apply(image: Image.Image, severity: float = 1.0, **values) -> np.ndarray:
    return np.asarray(find_operation("sonification").apply(image, generator(0), severity, **values), float)


@pytest.mark.parametrize(("form", "codec"), [("mu-law", "pcm_mulaw"), ("A-law", "pcm_alaw")])
def test_companded_samples_are_ffmpegs(form: str, codec: str) -> None:
    decoder = av.CodecContext.create(codec, "r")
    decoder.sample_rate, decoder.layout = 8000, "mono"
    (frame,) = decoder.decode(av.Packet(CODES.tobytes()))
    expected = frame.to_ndarray().ravel() / 32768
    assert np.abs(samples_of(CODES, form) - expected).max() <= 1 / 32768  # the second zero of mu-law


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("length", [3, 256, 300])
def test_bytes_come_back_from_sound(form: str, length: int) -> None:
    octets = np.resize(CODES, length)
    assert octets_of(samples_of(octets, form), form, octets).tolist() == octets.tolist()


@pytest.mark.parametrize("form", FORMATS)
def test_too_loud_is_clipped(form: str) -> None:
    octets = np.zeros(4, np.uint8)
    loud = octets_of(np.full(4, 9.0, np.float32), form, octets)
    assert (samples_of(loud, form) > 0.95).all()


def test_an_echo_is_scipys_comb() -> None:
    denominator = np.zeros(8)
    denominator[[0, 7]] = 1, -0.6
    assert np.allclose(EFFECTS["echo"](sound(), KNOBS), lfilter([1.0], denominator, sound()), atol=1e-4)


def test_an_echo_is_seen_below_by_its_delay() -> None:
    image = Image.new("RGB", (50, 40), (128, 128, 128))
    image.putpixel((10, 5), (255, 255, 255))
    found = apply(image, delay=12 / 40 + 4 / 2000, feedback=0.5)[..., 0]
    assert found[5, 10] == 255 and abs(found[17, 14] - 192) <= 1 and abs(found[29, 18] - 160) <= 1


def test_a_phaser_lets_all_pass_somewhere() -> None:
    """All-passes change phases only: the swept part alone keeps the energy of the sound."""
    swept = 2 * EFFECTS["phaser"](sound(200_000), KNOBS) - sound(200_000)
    assert abs(np.square(swept).sum() / np.square(sound(200_000)).sum() - 1) < 0.02


@pytest.mark.parametrize(("effect", "kept"), [("low-pass", 0.02), ("high-pass", 0.5), ("band-pass", 0.1)])
def test_filters_keep_their_band(effect: str, kept: float) -> None:
    impulse = np.zeros(4096, np.float32)
    impulse[0] = 1
    frequencies, response = freqz(EFFECTS[effect](impulse, KNOBS), worN=512)
    gain = np.abs(response) / np.abs(response).max()
    bands = {0.02: gain[10], 0.1: gain[51], 0.5: gain[256]}
    assert bands[kept] > 0.7 and min(bands.values()) < 0.3


def test_reversing_twice_is_nothing() -> None:
    whole = sound(4200)  # 600 stretches
    assert (EFFECTS["reverse"](EFFECTS["reverse"](whole, KNOBS), KNOBS) == whole).all()
    assert EFFECTS["reverse"](whole, KNOBS)[:7].tolist() == whole[6::-1].tolist()


def test_stretches_are_normalised() -> None:
    found = EFFECTS["normalise"](sound(4200) * 0.1 + 0.5, KNOBS).reshape(-1, 7)
    assert np.allclose(found.mean(1), 0, atol=1e-5) and np.allclose(np.abs(found).max(1), 1)


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("length", [1, 2, 30, 5000])
def test_every_effect_keeps_length_and_stays_finite_at_the_ends_of_its_range(effect: str, length: int) -> None:
    for knobs in (Knobs(1, 0.0, 0.1, 0.0, 0.001), Knobs(max(1, length // 2), 0.95, 500.0, 3.0, 0.95)):
        found = EFFECTS[effect](sound(length), knobs)
        assert found.shape == (length,) and np.isfinite(found).all()


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_effect_is_seen_and_half_the_mix_is_half_way(effect: str) -> None:
    for size in (512, 64):
        image = photograph("astronaut").resize((size, size))
        before = np.asarray(image, float)
        half, whole = (np.abs(apply(image, severity, effect=effect) - before).mean() for severity in (0.5, 1.0))
        assert whole > 8 and 0.4 * whole < half < 0.7 * whole


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_setting_names_the_effects_it_acts_on(effect: str) -> None:
    image = photograph("astronaut").resize((64, 64))
    for knob in find_operation("sonification").parameters[2:]:
        least, most = (apply(image, effect=effect, **{knob.name: end}) for end in (knob.minimum, knob.maximum))
        assert (effect in knob.help.casefold()) == (not np.array_equal(least, most)), knob.name
