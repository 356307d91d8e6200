"""The dataset: chain, random streams, fingerprint, and reading of every kind of picture.

Oracles: arithmetic for 16-bit and alpha, Pillow's own decoder for JPEG, littleCMS through a known profile.
"""

import dataclasses
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.images import BrokenImage, inspect_image, open_rgb, readable_formats, to_rgb
from glitch_lora.dataset.sample import Sample
from photographs import photograph, write_dataset
from PIL import Image, ImageCms, ImageFile, ImageOps


@dataclasses.dataclass(frozen=True)
class Noise:
    """A step that writes its first draw into the caption."""

    seed: int = 0
    varies: bool = False
    touches: str = "caption"
    name: str = "noise"
    kind: str = "caption"

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return sample.with_caption(f"{sample.caption} {rng.integers(1 << 40)}")

    def describe(self) -> dict:
        return dataclasses.asdict(self)


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    return load_folder(write_dataset(tmp_path / "photos", ["astronaut", "chelsea", "coffee"]))


def test_a_sample_is_the_file_and_its_caption(photos: Dataset) -> None:
    sample = photos.sample(0)
    assert photos.items[0].name == "astronaut.png"
    assert sample.caption == "a photo of astronaut"
    assert sample.original_size == sample.image.size == photos.items[0].size == photos.framed_size(0)
    assert np.array_equal(np.asarray(sample.image), np.asarray(photograph("astronaut")))


def test_steps_act_in_order_and_never_on_the_given_dataset(photos: Dataset) -> None:
    one = photos.with_step(TriggerWord("first"))
    two = one.with_step(TriggerWord("second"))
    assert (len(photos.steps), len(one.steps), len(two.steps)) == (0, 1, 2)
    assert two.caption(1) == "second, first, a photo of chelsea" == two.sample(1).caption
    assert (photos.trigger, one.trigger, two.trigger) == ("", "first", "second")
    assert two.sample(1).triggers == ("first", "second")


def test_draws_depend_on_seed_item_and_variant_only(photos: Dataset) -> None:
    frozen, moving = photos.with_step(Noise()), photos.with_step(Noise(varies=True))
    assert frozen.caption(0, 0) == frozen.caption(0, 5) != frozen.caption(1, 0).replace("chelsea", "astronaut")
    assert moving.caption(0, 0) != moving.caption(0, 5)
    assert not frozen.varies and moving.varies
    assert photos.with_step(Noise(seed=1)).caption(0) != frozen.caption(0)
    reordered = dataclasses.replace(frozen, items=frozen.items[::-1])
    assert reordered.caption(2) == frozen.caption(0)
    after_another = photos.with_step(TriggerWord("x")).with_step(Noise())
    assert after_another.caption(0) == f"x, {frozen.caption(0)}"


def test_the_same_step_twice_draws_twice(photos: Dataset) -> None:
    first, second = photos.with_step(Noise()).with_step(Noise()).caption(0).split()[-2:]
    assert first != second


def test_a_caption_needs_no_picture_unless_a_step_reads_both(photos: Dataset) -> None:
    photos.items[0].path.unlink()
    assert photos.with_step(TriggerWord("x")).caption(0) == "x, a photo of astronaut"
    with pytest.raises(ValueError, match=r"astronaut\.png: the file changed"):
        photos.with_step(Noise(touches="both")).caption(0)


def test_the_fingerprint_sees_contents_captions_repeats_and_steps(photos: Dataset, tmp_path: Path) -> None:
    again = load_folder(write_dataset(tmp_path / "renamed", ["astronaut", "chelsea", "coffee"]))
    assert photos.fingerprint == again.fingerprint
    item = photos.items[0]
    for change in ({"caption": "x"}, {"repeats": 2}, {"key": "0" * 64}, {"background": (0, 0, 0)}):
        changed = dataclasses.replace(photos, items=(dataclasses.replace(item, **change), *photos.items[1:]))
        assert changed.fingerprint != photos.fingerprint, change
    assert photos.with_step(TriggerWord("x")).fingerprint != photos.fingerprint
    json.dumps([step.describe() for step in photos.with_step(TriggerWord("x")).steps])


def test_an_edited_file_is_seen(photos: Dataset, tmp_path: Path) -> None:
    path = photos.items[1].path
    photograph("rocket").save(path)
    with pytest.raises(ValueError, match=r"chelsea\.png: the file changed"):
        photos.sample(1)
    assert load_folder(path.parent).fingerprint != photos.fingerprint


def test_entries_repeat_items() -> None:
    items = tuple(dataclasses.replace(_item(), repeats=repeats) for repeats in (2, 1, 3))
    assert Dataset(items).entries == (0, 0, 1, 2, 2, 2)


def test_an_empty_dataset_is_refused_when_used() -> None:
    with pytest.raises(ValueError, match="got no pictures"):
        Dataset(()).require_items()


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.floor(values / 257 + 0.5).astype(np.uint8)
    for name in ("grey.png", "grey.tif"):
        Image.fromarray(values).save(tmp_path / name)
        assert np.array_equal(np.asarray(open_rgb(tmp_path / name)), np.repeat(expected[..., None], 3, 2)), name


def test_a_wide_integer_picture_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 70000, np.int32)).save(tmp_path / "wide.tif")
    Image.fromarray(np.full((16, 16), 3.5, np.float32)).save(tmp_path / "bright.tif")
    for name, words in {"wide.tif": "70000", "bright.tif": "outside 0..1"}.items():
        for read in (inspect_image, open_rgb):  # already when the folder is loaded
            with pytest.raises(BrokenImage, match=words):
                read(tmp_path / name)


def test_sixteen_bit_colour_keeps_its_upper_byte(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64 * 64 * 3).astype(np.uint16).reshape(64, 64, 3)
    _png(tmp_path / "deep.png", 64, 64, 16, b"".join(b"\0" + row.astype(">u2").tobytes() for row in values))
    found = np.asarray(open_rgb(tmp_path / "deep.png"), float)
    assert np.abs(found - values / 257).max() <= 1


def test_cmyk_is_pillows_own_conversion(tmp_path: Path) -> None:
    photograph("coffee").convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    with Image.open(tmp_path / "print.jpg") as image:
        assert image.mode == "CMYK"
        expected = np.asarray(image.convert("RGB"))
    found = np.asarray(open_rgb(tmp_path / "print.jpg"))
    assert np.array_equal(found, expected)
    assert np.abs(found.astype(int) - np.asarray(photograph("coffee"))).mean() < 4


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 30)])
def test_transparency_is_laid_over_the_background(tmp_path: Path, background: tuple[int, int, int]) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[..., :3] = (200, 100, 50)
    pixels[..., 3] = np.linspace(0, 255, 16, dtype=np.uint8)
    weight = pixels[..., 3:] / 255
    expected = pixels[..., :3] * weight + np.array(background) * (1 - weight)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    assert np.abs(np.asarray(open_rgb(tmp_path / "rgba.png", background), float) - expected).max() <= 1


def test_palette_and_grey_transparency(tmp_path: Path) -> None:
    palette = Image.new("P", (16, 16), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(0, (0, 0, 8, 16))
    palette.save(tmp_path / "palette.png", transparency=0)
    found = open_rgb(tmp_path / "palette.png", (0, 255, 0))
    assert found.getpixel((0, 0)) == (0, 255, 0) and found.getpixel((15, 0)) == (0, 0, 255)
    Image.new("LA", (16, 16), (100, 0)).save(tmp_path / "la.png")
    assert open_rgb(tmp_path / "la.png").getpixel((3, 3)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    upright = photograph("chelsea").resize((96, 64))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that stores the picture in this orientation
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    assert inspect_image(tmp_path / "turned.png") == (96, 64)
    assert np.array_equal(np.asarray(open_rgb(tmp_path / "turned.png")), np.asarray(upright))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["turned.jpg", "turned.tif", "turned.webp"])
def test_every_format_is_turned_once_and_inspected_as_opened(tmp_path: Path, name: str, orientation: int) -> None:
    """Oracle: Pillow's own exif_transpose on the decoded picture."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph("chelsea").resize((96, 64)).save(tmp_path / name, exif=exif)
    with Image.open(tmp_path / name) as image:
        image.load()
        expected = ImageOps.exif_transpose(image).convert("RGB")
    found = open_rgb(tmp_path / name)
    assert found.tobytes() == expected.tobytes()
    assert inspect_image(tmp_path / name) == found.size == expected.size


@pytest.mark.parametrize("name", ["odd.jpg", "odd.webp"])
def test_a_mistyped_exif_tag_does_not_keep_a_picture_from_being_turned(tmp_path: Path, name: str) -> None:
    exif = struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", 2)
    exif += struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation 6, as a short
    exif += struct.pack("<HHI4s", 0x0102, 2, 4, b"8 8\0")  # bits per sample as text, where numbers belong
    exif += struct.pack("<I", 0)
    stored = photograph("chelsea").resize((96, 64))
    stored.save(tmp_path / name, exif=b"Exif\0\0" + exif)
    with Image.open(tmp_path / name) as image:
        image.load()
        expected = image.convert("RGB").transpose(Image.Transpose.ROTATE_270)
        with pytest.raises(Exception):  # noqa: B017  Pillow's own turning writes the EXIF data again and fails
            ImageOps.exif_transpose(image)
    assert inspect_image(tmp_path / name) == (64, 96)
    assert open_rgb(tmp_path / name).tobytes() == expected.tobytes()


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, struct.error, zlib.error, KeyError])
def test_whatever_a_decoder_raises_is_a_broken_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    photograph("coffee").save(tmp_path / "a.png")
    photograph("coffee").save(tmp_path / "b.jpg")
    dataset = load_folder(tmp_path)

    def fail(_self: object) -> None:
        raise error("odd data")

    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", fail)
        for read in (inspect_image, open_rgb):
            with pytest.raises(BrokenImage, match="cannot be decoded: .*odd data"):
                read(tmp_path / "a.png")
        with pytest.raises(ValueError, match=r"b\.jpg: cannot be decoded: .*odd data.*, repair or remove the file"):
            dataset.sample(1)
        error = MemoryError
        with pytest.raises(BrokenImage, match="asks for more memory than any picture needs"):
            inspect_image(tmp_path / "a.png")
        patch.setattr("glitch_lora.dataset.images._is_room", lambda: False)
        with pytest.raises(MemoryError):
            inspect_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["cut.avif", "cut.dds", "cut.png", "cut.jp2", "cut.tga", "cut.jpg", "cut.webp"])
def test_damaged_files_are_judged_alike_when_loaded_and_when_trained(tmp_path: Path, name: str) -> None:
    """Bytes are overwritten at many places: either both ways read the file or both refuse it."""
    photograph("chelsea").resize((64, 48)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for seed in range(60):
        data = bytearray(whole)
        for place in np.random.default_rng(seed).integers(0, min(len(data), 400), 4):
            data[place] ^= 1 << (seed % 8)
        (tmp_path / name).write_bytes(data)
        outcomes = []
        for read in (inspect_image, lambda path: open_rgb(path).size):
            try:
                outcomes.append(read(tmp_path / name))
            except BrokenImage as error:
                outcomes.append(str(error) if "smallest side" in str(error) else "broken")
        assert outcomes[0] == outcomes[1] or "smallest side" in str(outcomes[0]), (seed, outcomes)


def test_a_colour_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    swapped = _swapped_profile()
    Image.new("RGB", (16, 16), (200, 60, 60)).save(tmp_path / "profiled.png", icc_profile=swapped)
    red, green, _blue = open_rgb(tmp_path / "profiled.png").getpixel((0, 0))
    assert green > red  # the profile says that the file's red channel is green
    Image.new("RGB", (16, 16), (200, 60, 60)).save(tmp_path / "damaged.png", icc_profile=b"no profile")
    assert open_rgb(tmp_path / "damaged.png").getpixel((0, 0)) == (200, 60, 60)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for name in ("moving.gif", "moving.png", "moving.webp"):
        exact = {"lossless": True} if name.endswith("webp") else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **exact)
        assert open_rgb(tmp_path / name).getpixel((5, 5)) == (255, 0, 0), name


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "HSV", "LAB", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    source = photograph("chelsea").resize((64, 48))
    if mode == "LAB":
        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(source, *profiles, outputMode="LAB")
    elif mode == "F":
        image = Image.fromarray(np.asarray(source.convert("L"), np.float32) / 255)
    elif mode == "LA":
        image = source.convert("L").convert("LA")
    elif mode in ("P", "PA"):
        image = source.quantize(256).convert(mode)
    else:
        image = source.convert(mode)
    found = to_rgb(image)
    grey = mode in ("1", "L", "LA", "F")
    expected = source.convert("L").convert("RGB") if grey else source
    assert found.mode == "RGB" and found.size == source.size
    far = 4 if mode == "1" else 0  # dithering keeps the level of an area, not of a pixel
    pixels = [np.asarray(image.reduce(2**far), float) for image in (found, expected)]
    error = np.abs(pixels[0] - pixels[1]).mean()
    assert error < 12, error


def test_truncated_files_are_broken_even_when_pillow_was_told_to_be_lenient(tmp_path: Path) -> None:
    from PIL import ImageFile

    for name in ("cut.jpg", "cut.png", "cut.webp"):
        photograph("coffee").save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        for name in ("cut.jpg", "cut.png", "cut.webp"):
            with pytest.raises(BrokenImage):
                inspect_image(tmp_path / name)
        assert ImageFile.LOAD_TRUNCATED_IMAGES
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


@pytest.mark.filterwarnings("ignore:Image size")
def test_broken_and_tiny_and_huge_files_say_why(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    _png(tmp_path / "bomb.png", 60_000, 60_000)
    _png(tmp_path / "large.png", 20_000, 8_800)
    for name, reason in {
        "text.png": "not a picture",
        "empty.png": "not a picture",
        "dot.png": "1x1 pixels",
        "bomb.png": "pixels",
        "large.png": "20000x8800",
        "gone.png": "not exist",
    }.items():
        with pytest.raises(BrokenImage, match=reason):
            inspect_image(tmp_path / name)


def test_no_format_that_starts_another_program_is_read(tmp_path: Path) -> None:
    assert "EPS" not in readable_formats() and {"PNG", "JPEG", "WEBP", "TIFF", "AVIF"} <= set(readable_formats())
    photograph("coffee").save(tmp_path / "real.eps")
    (tmp_path / "real.eps").rename(tmp_path / "disguised.png")
    with pytest.raises(BrokenImage, match="not a picture"):
        inspect_image(tmp_path / "disguised.png")


def _item():
    from glitch_lora.dataset.dataset import Item

    return Item(Path("x.png"), "x.png", "", 1, "0" * 64, (64, 64))


def _png(path: Path, width: int, height: int, bits: int = 8, rows: bytes = b"") -> None:
    """Write an RGB PNG of the given rows, each with its filter byte; without rows it promises pixels and has none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def _swapped_profile() -> bytes:
    """Return Pillow's sRGB profile with the red and green primaries exchanged and another description."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.find(b"rXYZ", 128), data.find(b"gXYZ", 128)
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(data.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "I;16", "CMYK"])
def test_a_large_picture_is_converted_band_by_band_like_a_small_one(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    image = photograph("chelsea").resize((97, 61))
    image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 250) if mode == "I;16" else image.convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    profile = _swapped_profile() if mode == "RGB" else None
    whole = to_rgb(image, profile, (9, 200, 3))
    monkeypatch.setattr("glitch_lora.dataset.images._BAND_PIXELS", 1000)
    assert to_rgb(image, profile, (9, 200, 3)).tobytes() == whole.tobytes()


def test_readers_beside_one_another_are_all_strict(tmp_path: Path) -> None:
    """A reader that ends must not hand leniency back to one that still reads."""
    from concurrent.futures import ThreadPoolExecutor

    photograph("coffee").save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])

    def refused(_number: int) -> bool:
        with pytest.raises(BrokenImage):
            open_rgb(tmp_path / "cut.png")
        return True

    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(refused, range(64)))
        assert ImageFile.LOAD_TRUNCATED_IMAGES
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
