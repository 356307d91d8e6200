"""Framing: sizes, crops, flips and the recorded crop.

Oracles: kohya's documented bucket rule written out naively, Pillow's resize, and pixel coordinates written into the
picture, which say where every framed pixel came from.
"""

import json
from math import sqrt

import numpy as np
import pytest
from glitch_lora.dataset.fits import BucketFit, FixedFit, NativeFit, PairFit, bucket_sizes, closest
from glitch_lora.dataset.framing import RESAMPLINGS, Frame
from glitch_lora.dataset.sample import Sample
from glitch_lora.dataset.seeds import generator
from hypothesis import given, settings
from hypothesis import strategies as st
from photographs import photograph
from PIL import Image

SIDES = st.integers(8, 3000)
REACHES = st.sampled_from(["cover-crop", "stretch", "contain-pad"])
FITS = st.one_of(
    st.builds(BucketFit, resolution=st.sampled_from([256, 512, 1000]), no_upscale=st.booleans()),
    st.builds(FixedFit, st.sampled_from([64, 512]), st.sampled_from([64, 832]), REACHES),
    st.builds(NativeFit, stride=st.sampled_from([8, 16, 32, 64]), max_side=st.sampled_from([0, 64, 768])),
    st.builds(PairFit),
)


def coordinates(width: int, height: int) -> Image.Image:
    """A picture whose red is x and whose green is y (sides up to 256)."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8))


def framed(frame: Frame, image: Image.Image, seed: int = 0) -> Sample:
    return frame.apply(Sample(image, "caption", image.size), generator(seed))


@given(SIDES, SIDES, FITS, st.sampled_from([0, 64, 128, 500]))
@settings(max_examples=300, deadline=None)
def test_framed_sizes_are_multiples_of_8_within_the_limit(width: int, height: int, fit, limit: int) -> None:
    frame = Frame(fit, max_resolution=limit)
    target = frame.output_size((width, height))
    assert all(side % 8 == 0 and side >= 8 for side in target)
    plan = fit.plan((width, height), limit**2)
    covers = all(a >= b for a, b in zip(plan.resized, plan.target, strict=True))
    assert covers or getattr(fit, "reach", "") == "contain-pad"
    stride = getattr(fit, "stride", getattr(fit, "step", 8))  # a strip keeps one whole stride across its short side
    assert not limit or target[0] * target[1] <= limit**2 or min(target) == stride


@given(st.integers(8, 300), st.integers(8, 300), FITS)
@settings(max_examples=60, deadline=None)
def test_the_picture_has_the_told_size_and_the_input_is_unchanged(width: int, height: int, fit) -> None:
    image = coordinates(width, height)
    before = image.tobytes()
    frame = Frame(fit, crop="random", horizontal_flip="random", vertical_flip="random", max_resolution=256)
    sample = framed(frame, image)
    assert sample.image.size == frame.output_size(image.size)
    assert sample.image.mode == "RGB" and sample.original_size == (width, height) and sample.caption == "caption"
    assert image.tobytes() == before


def kohya_buckets(resolution: int, step: int, low: int, high: int) -> set[tuple[int, int]]:
    """Kohya's make_bucket_resolutions as documented: square first, then each width with its largest height."""
    area = resolution * resolution
    found = {(int(sqrt(area)) // step * step,) * 2}
    for width in range(low, high + 1, step):
        height = min(high, area // width // step * step)
        if height >= low:
            found |= {(width, height), (height, width)}
    return found


@pytest.mark.parametrize("resolution", [512, 640, 768, 1024])
def test_buckets_are_kohyas(resolution: int) -> None:
    assert set(bucket_sizes(resolution**2, 64, 256, 1024)) == kohya_buckets(resolution, 64, 256, 1024)


def test_known_buckets() -> None:
    """What kohya's trainers print for 512: 512x512, 576x448 for 4:3, 640x384 for 16:9."""
    sizes = bucket_sizes(512**2, 64, 256, 1024)
    assert closest((4032, 3024), sizes) == (576, 448)
    assert closest((1920, 1080), sizes) == (640, 384)
    assert closest((3024, 4032), sizes) == (448, 576)
    assert closest((1000, 1010), sizes) == (512, 512)
    assert closest((10_000, 100), sizes) == (1024, 256)


def test_the_default_limits_leave_no_common_bucket_out() -> None:
    """SDXL's published training sizes for these aspect ratios (its report's appendix, multi-aspect training)."""
    fit = BucketFit(1024)
    published = {(896, 1152): (1500, 2000), (832, 1216): (2000, 3000), (768, 1344): (900, 1600), (640, 1536): (5, 12)}
    for size, picture in published.items():
        assert fit.plan(picture).target == size
        assert fit.plan(picture[::-1]).target == size[::-1]


def test_no_upscale_never_enlarges() -> None:
    fit = BucketFit(512, no_upscale=True)
    assert fit.plan((300, 200)) == ((300, 200), (256, 192))
    large = fit.plan((3000, 2000))
    assert large.target == (576, 384) and abs(large.resized[0] / large.resized[1] - 1.5) < 0.01
    assert large.resized[0] * large.resized[1] <= 512**2 * 1.01


def test_pair_follows_the_orientation() -> None:
    assert PairFit().plan((200, 100)).target == (1216, 832)
    assert PairFit().plan((100, 200)).target == PairFit().plan((100, 100)).target == (832, 1216)


def test_native_crops_without_resampling() -> None:
    sample = framed(Frame(NativeFit(stride=64)), coordinates(200, 150))
    pixels = np.asarray(sample.image)
    assert sample.image.size == (192, 128)
    assert sample.crop == (4, 11) == tuple(pixels[0, 0, :2])
    assert tuple(pixels[-1, -1, :2]) == (4 + 191, 11 + 127)


@pytest.mark.parametrize("horizontal", ["none", "always"])
@pytest.mark.parametrize("vertical", ["none", "always"])
def test_the_recorded_crop_is_counted_from_the_edge_the_flip_moved(horizontal: str, vertical: str) -> None:
    frame = Frame(NativeFit(stride=64), crop="random", horizontal_flip=horizontal, vertical_flip=vertical)
    for seed in range(20):
        image = coordinates(250, 200)
        sample = framed(frame, image, seed)
        mirrored = image
        if horizontal == "always":
            mirrored = mirrored.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if vertical == "always":
            mirrored = mirrored.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        left, top = sample.crop
        width, height = sample.image.size
        assert sample.image.tobytes() == mirrored.crop((left, top, left + width, top + height)).tobytes()


def test_random_crops_reach_every_offset_and_flips_half() -> None:
    frame = Frame(NativeFit(stride=64), crop="random", horizontal_flip="random")
    assert frame.varies and not Frame(NativeFit()).varies
    found = [framed(frame, coordinates(70, 66), seed) for seed in range(400)]
    assert {sample.crop for sample in found} == {(left, top) for left in range(7) for top in range(3)}
    flipped = sum(np.asarray(sample.image)[0, 0, 0] > np.asarray(sample.image)[0, 1, 0] for sample in found)
    assert 150 < flipped < 250  # a fair coin: five standard deviations


def test_turning_a_flip_on_leaves_the_crop_draw_alone() -> None:
    plain = framed(Frame(NativeFit(), crop="random"), coordinates(200, 200), 3)
    turned = framed(Frame(NativeFit(), crop="random", horizontal_flip="always"), coordinates(200, 200), 3)
    assert turned.image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes() == plain.image.tobytes()


def test_stretch_cover_and_pad_of_a_real_photograph() -> None:
    image = photograph("coffee")
    stretched = framed(Frame(FixedFit(256, 256, "stretch")), image).image
    assert stretched.tobytes() == image.resize((256, 256), Image.Resampling.LANCZOS).tobytes()
    padded = framed(Frame(FixedFit(256, 256, "contain-pad"), pad=(1, 2, 3)), image).image
    height = round(256 * image.height / image.width)
    top = (256 - height + 1) // 2
    assert padded.getpixel((0, 0)) == padded.getpixel((255, 255)) == (1, 2, 3)
    inside = padded.crop((0, top, 256, top + height))
    assert inside.tobytes() == image.resize((256, height), Image.Resampling.LANCZOS).tobytes()
    cover = framed(Frame(FixedFit(256, 256, "cover-crop")), image).image
    width = round(256 * image.width / image.height)
    left = (width - 256) // 2
    expected = image.resize((width, 256), Image.Resampling.LANCZOS).crop((left, 0, left + 256, 256))
    assert cover.tobytes() == expected.tobytes()


@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_resolution_crush_of_a_large_original(resampling: str) -> None:
    """The large scans of the field shrunk to a 512 square's area, with each filter."""
    frame = Frame(NativeFit(stride=64), resampling=resampling, max_resolution=512)
    assert frame.output_size((4961, 3508)) == (576, 384)
    image = photograph("rocket").resize((1240, 877))
    small = framed(Frame(NativeFit(stride=8), resampling=resampling, max_resolution=128), image).image
    resized = image.resize((152, 108), Image.Resampling[resampling.upper()])
    assert small.size == (152, 104)
    assert small.tobytes() == resized.crop((0, 2, 152, 106)).tobytes()


def test_steps_are_described_as_json_and_differ() -> None:
    frames = [Frame(BucketFit()), Frame(NativeFit()), Frame(FixedFit()), Frame(PairFit()), Frame(PairFit(), seed=1)]
    texts = [json.dumps(frame.describe(), sort_keys=True) for frame in frames]
    assert len(set(texts)) == len(frames)
    assert frames[0].describe()["fit"]["mode"] == "buckets"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FixedFit(513, 512), "width: got 513, allowed multiples of 8, take 512"),
        (lambda: FixedFit(512, 512, "squeeze"), "fit: got 'squeeze'"),
        (lambda: BucketFit(step=60), "bucket step: got 60"),
        (lambda: BucketFit(min_side=4096), "min_side"),
        (lambda: NativeFit(stride=12), "stride: got 12"),
        (lambda: NativeFit(stride=64, max_side=32), "max_side: got 32"),
        (lambda: PairFit(8, 64), "short_side: got 8"),
        (lambda: Frame(PairFit(), crop="left"), "crop: got 'left'"),
        (lambda: Frame(PairFit(), resampling="sinc"), "resampling: got 'sinc'"),
        (lambda: Frame(PairFit(), max_resolution=10), "max_resolution: got 10"),
    ],
)
def test_impossible_settings_are_refused(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
