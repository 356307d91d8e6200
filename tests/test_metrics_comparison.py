"""Pictures compared: with an original, with known ones, within a set, with a reference; before and after a VAE."""

import numpy as np
import pytest
from glitch_lora.metrics.copies import KnownPictures, hash_distance, neighbour_ratio, perceptual_hash, views
from glitch_lora.metrics.diversity import mean_difference, vendi, vendi_score
from glitch_lora.metrics.effect import effect_size, strength_curve
from glitch_lora.metrics.planes import luma
from glitch_lora.metrics.profile import ArtefactCounter, Reference, patches
from glitch_lora.metrics.similarity import distance, gradient_loss, ms_ssim_loss, ssim_loss, structure_loss
from glitch_lora.metrics.survival import difference_left, survival
from glitch_lora.metrics.texture import feature_distance, features, texture_distance
from photographs import photograph
from PIL import Image, ImageFilter
from skimage.metrics import mean_squared_error, structural_similarity

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "retina", "motorcycle")


def square(name: str, side: int = 128) -> np.ndarray:
    image = photograph(name)
    least = min(image.size)
    return np.asarray(image.crop((0, 0, least, least)).resize((side, side), Image.Resampling.LANCZOS))


PHOTOS = [square(name) for name in NAMES]
LARGE = square("chelsea", 256)


def source(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def grainy(picture: np.ndarray, sigma: float = 12, seed: int = 0) -> np.ndarray:
    return (picture + source(seed).normal(0, sigma, (*picture.shape[:2], 1))).clip(0, 255).astype(np.uint8)


def blurred(picture: np.ndarray, radius: float = 2) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)))


DAMAGE = {"grain": grainy, "blur": blurred, "dark": lambda one: one // 2, "moved": lambda one: np.roll(one, 9, 1)}


# With an original


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
def test_ssim_is_that_of_scikit_image(damage):
    settings = {"gaussian_weights": True, "use_sample_covariance": False, "data_range": 255}
    expected = structural_similarity(luma(damage(LARGE)), luma(LARGE), **settings)
    assert ssim_loss(damage(LARGE), LARGE) == pytest.approx(1 - expected, abs=1e-4)


def test_distance_is_the_root_of_scikit_images_error():
    assert distance(PHOTOS[0], PHOTOS[1]) == pytest.approx(mean_squared_error(PHOTOS[0], PHOTOS[1]) ** 0.5, rel=1e-5)
    assert distance(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 100, np.uint8)) == 100


def test_one_scale_is_left_of_small_pictures():
    """Under 22 pixels there is one scale, and the loss is that of SSIM."""
    small, dark = LARGE[:21, :21], LARGE[:21, :21] // 2
    assert ms_ssim_loss(dark, small) == pytest.approx(ssim_loss(dark, small), abs=1e-6)


def test_many_scales_forgive_grain_and_not_blur():
    grain, soft = grainy(LARGE), blurred(LARGE, 4)
    assert ms_ssim_loss(grain, LARGE) < 0.5 * ssim_loss(grain, LARGE)
    assert ms_ssim_loss(soft, LARGE) > 0.15


def test_gradient_loss_follows_its_formula():
    """A ramp of 2 a pixel is one of 4 at half size, 8 by Prewitt's differences over two: against a flat picture the
    likeness is c / (64 + c) on that half and 1 on the other, and half their difference is the deviation.
    """
    flat = np.full((128, 128, 3), 100, np.uint8)
    ramp = flat.copy()
    ramp[:, 64:] = (100 + np.arange(64) * 2)[None, :, None]
    likeness = 170 / (64 + 170)
    assert gradient_loss(ramp, flat) == pytest.approx((1 - likeness) / 2, rel=0.05)
    assert gradient_loss(flat + 50, flat) == 0


def test_structure_loss_sees_what_moved_and_little_of_the_rest():
    picture = LARGE
    moved = np.roll(picture, 64, 1)
    for kept in (picture // 2 + 60, grainy(picture), 255 - (255 - picture) // 2):
        assert structure_loss(kept, picture) < 0.1 < 0.4 < structure_loss(moved, picture)


def test_texture_distance_does_not_see_where_things_are():
    half = np.roll(LARGE, 128, 1)
    other = square("coffee", 256)
    assert texture_distance(half, LARGE) < 0.2 * texture_distance(other, LARGE)
    assert feature_distance(half, LARGE) > 3 * texture_distance(half, LARGE)


def test_photographs_are_about_one_apart_and_their_copies_near():
    apart = [feature_distance(one, other) for i, one in enumerate(PHOTOS) for other in PHOTOS[:i]]
    assert 0.5 < np.median(apart) < 2
    near = [feature_distance(grainy(one, 5), one) for one in PHOTOS]
    assert max(near) < 0.5 * min(apart)


# Copies


def test_hash_is_the_sign_of_the_lowest_cosines():
    """A picture that is one of the cosines has that cosine alone above the median, besides the mean."""
    across = np.cos(np.pi * 3 * (np.arange(64) + 0.5) / 64)
    picture = np.repeat((128 + 100 * across)[None, :, None], 64, 0).repeat(3, 2).astype(np.uint8)
    bits = perceptual_hash(picture).reshape(8, 8)
    assert bits[0, 0] and bits[0, 3] and bits.sum() <= 32


def test_copies_are_found_flipped_and_cropped():
    known = KnownPictures(PHOTOS)
    crop = PHOTOS[2][: round(128 * 0.9), -round(128 * 0.9) :]
    for copy in (PHOTOS[2], grainy(PHOTOS[2]), PHOTOS[2][:, ::-1], crop, crop[:, ::-1], blurred(PHOTOS[2])):
        found = known.nearest(copy)
        assert found.index == 2 and found.copied
    assert known.nearest(PHOTOS[2][:, ::-1]).view == "itself flipped"
    assert hash_distance(PHOTOS[2][:, ::-1], PHOTOS[2]) > 20


def test_other_pictures_are_no_copies():
    known = KnownPictures(PHOTOS[:4])
    assert not any(known.nearest(picture).copied for picture in (PHOTOS[4], PHOTOS[5], square("cell")))


def test_every_view_fits_in_the_picture_of_any_size():
    for size in ((1, 1), (3, 100), (50, 50)):
        found = views(np.zeros((*size, 3), np.uint8))
        assert len(found) == 12 and all(view.size for view in found.values())


def test_ratio_is_small_for_a_copy():
    known = [features(picture) for picture in PHOTOS[:5]]
    assert neighbour_ratio(features(grainy(PHOTOS[1], 4)), known) < 0.3
    assert neighbour_ratio(features(PHOTOS[5]), known) > 0.5
    assert neighbour_ratio(np.array([0.0]), [np.array([1.0]), np.array([2.0]), np.array([6.0])]) == 0.25


def test_copies_need_known_pictures():
    with pytest.raises(ValueError, match="pictures: got none"):
        KnownPictures([])
    with pytest.raises(ValueError, match="known: got 1, allowed two"):
        neighbour_ratio(np.zeros(3), [np.zeros(3)])


# Sets


def test_vendi_counts_groups_of_equals():
    """For k groups of n equal things it is k; for groups of unequal size the exponential of their entropy."""
    for groups in (1, 2, 5):
        assert vendi(np.kron(np.eye(groups), np.ones((4, 4)))) == pytest.approx(groups)
    shares = np.array([3, 1]) / 4
    uneven = np.zeros((4, 4))
    uneven[:3, :3] = uneven[3:, 3:] = 1
    assert vendi(uneven) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_distinct_pictures_are_counted():
    assert vendi_score([grainy(PHOTOS[0], 3, seed) for seed in range(6)]) == pytest.approx(1, abs=0.05)
    assert vendi_score(PHOTOS) > 4
    assert vendi_score([*PHOTOS[:3], *PHOTOS[:3]]) == pytest.approx(vendi_score(PHOTOS[:3]))
    assert mean_difference(PHOTOS[:1]) == 0 < mean_difference(PHOTOS)


# Profile


def test_scores_are_robust_z_scores():
    reference = Reference({"noise": (1.0, 2.0, 3.0, 4.0, 8.0)})
    assert reference.score("noise", 3) == 0
    assert reference.score("noise", 3 + 1.4826) == pytest.approx(1)
    still = Reference({"noise": (0.0, 0.0, 0.0, 0.0, 4.0)})
    assert still.score("noise", 4) == pytest.approx(4 / (0.25 * np.std([0, 0, 0, 0, 4])))


def test_a_profile_names_what_was_done():
    reference = Reference.of(PHOTOS, ("noise", "blur", "colourfulness", "blockiness"))
    still = reference.profile(PHOTOS)
    grain = reference.profile([grainy(picture, 20) for picture in PHOTOS])
    assert still.overall == pytest.approx(0, abs=0.5)
    assert max(grain.scores, key=lambda name: abs(grain.scores[name])) == "noise"
    assert grain.overall > 2
    assert grain.overall == pytest.approx(np.sqrt(np.mean(np.clip(list(grain.scores.values()), -10, 10) ** 2)))


def test_artefacts_are_counted_where_they_are():
    clean = [square(name, 256) for name in NAMES]
    counter = ArtefactCounter(clean, ("noise", "line_index", "tear_rate"))
    damaged = [grainy(clean[0], 40), *clean[1:]]
    found = counter.count(damaged)
    assert counter.count(clean).pictures == 0 and counter.count(clean).patches < 0.02
    assert found.pictures == found.by["noise"] == pytest.approx(1 / 6) and found.by["line_index"] == 0
    assert found.patches == pytest.approx(1 / 6, abs=0.05)


def test_patches_cover_what_is_whole():
    assert len(patches(np.zeros((100, 70, 3), np.uint8))) == 3 * 2
    assert [one.shape for one in patches(np.zeros((9, 70, 3), np.uint8))] == [(9, 70, 3)]


def test_nothing_cannot_be_a_reference():
    for make in (Reference.of, ArtefactCounter):
        with pytest.raises(ValueError, match="reference: got no picture"):
            make([])
    with pytest.raises(ValueError, match="pictures: got none"):
        Reference({"noise": (1.0,)}).profile([])


# Effects and survival


def test_an_effect_is_the_mean_over_pairs():
    pairs = [(picture // 2, picture) for picture in PHOTOS]
    effect = effect_size(pairs)
    apart = [distance(*pair) for pair in pairs]
    assert effect.mean["distance"] == pytest.approx(np.mean(apart))
    assert effect.spread["distance"] == pytest.approx(np.std(apart))
    assert all(value == pytest.approx(0, abs=1e-5) for value in effect_size([(LARGE, LARGE)]).mean.values())


def test_a_strength_curve_says_where_half_is_reached():
    straight = strength_curve({0.0: 0, 0.5: 5, 1.0: 10, 1.5: 15})
    assert straight.half == pytest.approx(0.75) and straight.steepest == pytest.approx(10)
    sudden = strength_curve({0.0: 0, 0.25: 0, 0.5: 0.1, 0.75: 0.1, 1.0: 0.2, 1.25: 9, 1.5: 9.2})
    assert 1 < sudden.half < 1.25 and sudden.jump > 10
    with pytest.raises(ValueError, match="strengths: got 2"):
        strength_curve({0: 0, 1: 1})


def test_what_a_blur_lets_through_is_its_share():
    """A VAE that blurs takes grain and leaves tone."""
    grain, dark = grainy(LARGE, 30), LARGE // 2
    assert survival(LARGE, grain, lambda one: one, ["noise"])["noise"].share == 1
    assert survival(LARGE, grain, blurred, ["noise"])["noise"].share < 0.1
    assert survival(LARGE, dark, blurred, ["contrast"])["contrast"].share == pytest.approx(1, abs=0.15)
    assert survival(LARGE, LARGE, blurred, ["noise"])["noise"].share is None
    assert difference_left(LARGE, grain, blurred) < 0.3
    assert difference_left(LARGE, dark, blurred) > 0.9
    assert difference_left(LARGE, LARGE, blurred) == 0
