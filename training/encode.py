"""The dataset through the VAE and the text encoder, once, before the first step.

Random crops, flips and partial caption dropout are met by a few pre-encoded variants per item. Equal pictures and
equal captions are encoded once: they are known by their content. Steps that damage latents or conditioning come after
that; what they make has keys of its own.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..dataset.captions import drop_parts
from ..dataset.company import Lazy
from ..dataset.dataset import Dataset
from ..dataset.sample import Sample
from ..dataset.seeds import generator
from ..dataset.words import Words
from .conditioning import SizeConditioning, TextConditioning
from .model import Encoders, Events
from .recipe import Recipe
from .store import Store


@dataclass(frozen=True)
class EncodedSample:
    """One variant of one item. latent: [1, C, h, w] as the VAE gave it, not yet scaled."""

    latent: Tensor
    text: TextConditioning
    size: SizeConditioning


@dataclass(frozen=True)
class _Entry:
    latent_key: str
    text_key: str | None  # None where captions are encoded anew in each step
    latent_shape: tuple[int, ...]
    size: SizeConditioning
    caption: str


POOLED = "extra.pooled_output"  # the part of a caption's tensors that stands for the whole of it


class EncodedDataset:
    """Every item's variants, encoded, behind a store."""

    def __init__(
        self,
        entries: tuple[tuple[_Entry, ...], ...],
        order: tuple[int, ...],
        names: tuple[str, ...],
        empty_key: str | None,
        store: Store,
        rebuild: Callable[[dict[str, Tensor]], TextConditioning],
        changed: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self._entries = entries
        self._store = store
        self._empty_key = empty_key
        self._rebuild = rebuild
        self.order = order
        self.names = names
        self.changed = changed or {}  # of each step that damaged anything, the parts in which values changed

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Per item the latent's shape: what batch mates must share."""
        return tuple(variants[0].latent_shape for variants in self._entries)

    @property
    def variants(self) -> tuple[int, ...]:
        """Per item the number of variants."""
        return tuple(len(variants) for variants in self._entries)

    def sample(self, item: int, variant: int, without_caption: bool = False) -> EncodedSample:
        """Return a variant; `without_caption` gives it the empty caption's conditioning, which no step damages."""
        text = self.text(item, variant, without_caption)
        return EncodedSample(self.latent(item, variant), text, self.size(item, variant))

    def latent(self, item: int, variant: int) -> Tensor:
        """Return the latent [1, C, h, w] of a variant."""
        return _stored(self._store, self._entries[item][variant].latent_key)["latent"]

    def size(self, item: int, variant: int) -> SizeConditioning:
        """Return what the network is told of a variant's size."""
        return self._entries[item][variant].size

    def text(self, item: int, variant: int, without_caption: bool = False) -> TextConditioning:
        """Return the conditioning of a variant's caption, or of the empty one. The dataset was encoded with text."""
        key = self._empty_key if without_caption else self._entries[item][variant].text_key
        assert key is not None
        return self._rebuild(_stored(self._store, key))

    def caption(self, item: int, variant: int) -> str:
        """Return the caption a variant was encoded with."""
        return self._entries[item][variant].caption

    def largest(self) -> int:
        """Return the item with the largest latent."""
        return max(range(len(self._entries)), key=lambda item: int(np.prod(self.groups[item])))


def _stored(store: Store, key: str) -> dict[str, Tensor]:
    """Return the tensors under a key. Raises RuntimeError when the store lost them."""
    tensors = store.get(key)
    if tensors is None:
        raise RuntimeError(
            f"encoded dataset: got no readable entry {key[:12]} in the cache any more, "
            "allowed is a cache that stays until the training ends, queue again to encode it anew"
        )
    return tensors


def encode_dataset(
    dataset: Dataset, encoders: Encoders, recipe: Recipe, identities: dict[str, Any], store: Store, events: Events
) -> EncodedDataset:
    """Return `dataset` encoded with the recipe's variants; captions wait when the recipe trains the text side.

    identities: names the weights of ``"vae"`` and ``"clip"``; part of the content keys. Raises ValueError for an empty
    dataset, for a picture smaller than the VAE can take and for variants of different sizes.
    """
    dataset.require_items()
    if recipe.trains_text:
        _require_clean_text(dataset)
    encoding = _Encoding(dataset, encoders, recipe, identities, store)
    count = recipe.variants if dataset.varies or recipe.partial_caption_dropout else 1
    entries = []
    for index in range(len(dataset)):
        events.check()
        events.status(f"Encoding picture {index + 1} of {len(dataset)}")
        entries.append(tuple(encoding.entry(index, variant) for variant in range(count)))
        _require_one_size(dataset.items[index].name, entries[-1])
    empty_key = encoding.text("")
    names = tuple(item.name for item in dataset.items)
    changed = {name: frozenset(parts) for name, parts in encoding.changed.items()}
    return EncodedDataset(tuple(entries), dataset.entries, names, empty_key, store, _text_from_tensors, changed)


class _Encoding:
    def __init__(
        self, dataset: Dataset, encoders: Encoders, recipe: Recipe, identities: dict[str, Any], store: Store
    ) -> None:
        self._dataset = dataset
        self._undamaged: dict[tuple[int, int], _Entry] = {}
        self.changed: dict[str, set[str]] = {}
        self._encoders = encoders
        self._recipe = recipe
        self._store = store
        self._vae = json.dumps(identities["vae"], sort_keys=True)
        self._clip = json.dumps([identities["clip"], recipe.prompt_syntax], sort_keys=True)

    def entry(self, index: int, variant: int) -> _Entry:
        entry = self._clean(index, variant)
        for step, random in self._dataset.encoded_steps(index, variant):
            before = _touched(step, entry)
            after = self._damaged(step, random, before, index, variant)
            self._compare(step.name, before, after)
            entry = replace(entry, latent_key=after) if step.touches == "latent" else replace(entry, text_key=after)
        return entry

    def _compare(self, name: str, before: str, after: str) -> None:
        """Remember in which parts a step that did not spare an item changed values; the first item tells most."""
        if before != after and not self.changed.get(name):
            clean, damaged = _stored(self._store, before), _stored(self._store, after)
            parts = self.changed.setdefault(name, set())
            parts |= {part for part in clean if not torch.equal(clean[part], damaged[part])}

    def _clean(self, index: int, variant: int) -> _Entry:
        """Return a variant encoded and not damaged; asked for again, also by other items, it is not made again."""
        if (index, variant) not in self._undamaged:
            sample = self._dataset.sample(index, variant)
            caption = self._caption(sample, index, variant)
            latent_key, shape = self.image(self._dataset.items[index].name, sample.image)
            size = SizeConditioning(sample.original_size, sample.crop, sample.image.size)
            self._undamaged[index, variant] = _Entry(latent_key, self.text(caption), shape, size, caption)
        return self._undamaged[index, variant]

    def image(self, name: str, image: Image.Image) -> tuple[str, tuple[int, ...]]:
        width, height = image.size
        if width % 8 or height % 8 or min(width, height) < 16:
            raise ValueError(
                f"{name}: got a picture of {width}x{height}, allowed sides that are multiples of 8 and at least 16, "
                "put Frame Dataset after everything that changes the size"
            )
        key = _content_key("image", self._vae, image.size, image.tobytes())
        held = self._store.get(key)
        if held is None:
            held = {"latent": self._encoders.encode_image(image).to("cpu")}
            self._store.put(key, held)
        return key, tuple(held["latent"].shape)

    def text(self, caption: str) -> str | None:
        if self._recipe.trains_text:
            return None
        key = _content_key("text", self._clip, caption)
        if self._store.get(key) is None:
            self._store.put(key, _text_to_tensors(self._encoders.encode_text(caption)))
        return key

    def _caption(self, sample: Sample, index: int, variant: int) -> str:
        if not self._recipe.partial_caption_dropout:
            return sample.caption
        key = self._dataset.items[index].key
        random = generator(self._recipe.seed, "partial_caption_dropout", key, variant)
        return drop_parts(sample.caption, sample.triggers, self._recipe.partial_caption_dropout, random)

    def _damaged(self, step: Any, random: np.random.Generator, key: str, index: int, variant: int) -> str:
        """Return the key of what a step makes of the tensors under `key`; their own key when it spares them."""
        company = self._company(step, index, variant) if getattr(step, "gathers", False) else None
        # The stream as it is given is all that the step draws from: with the settings it decides the damage.
        decisive = [step.describe(), random.bit_generator.state, self._seen(company, variant)]
        damaged_key = _content_key("damaged", key, json.dumps(decisive, sort_keys=True))
        if self._store.get(damaged_key) is not None:
            return damaged_key
        clean = _stored(self._store, key)
        damaged = _changed(clean, lambda value: step.apply_encoded(value, random, company))
        if damaged is clean:
            return key
        self._store.put(damaged_key, damaged)
        return damaged_key

    def _seen(self, company: "_Company | None", variant: int) -> list[Any]:
        """Return what decides the company of an item, without encoding it."""
        if company is None:
            return []
        dropout = [self._recipe.partial_caption_dropout, self._recipe.seed]
        return [self._dataset.fingerprint, variant, company.place, *dropout]

    def _company(self, step: Any, index: int, variant: int) -> "_Company":
        """Return the undamaged latents or conditioning of the item and of all others, each read when it is asked for.

        Copies of the item's own picture are no others.
        """
        items = self._dataset.items
        own = items[index].file_key
        order = [one for one in self._dataset.content_order if one == index or items[one].file_key != own]

        def other(place: int) -> Any:
            clean = self._clean(order[place], variant)
            return _value(_stored(self._store, _touched(step, clean)))

        return _Company(order.index(index), variant, Lazy(len(order), other))


def _touched(step: Any, entry: _Entry) -> str:
    """Return the key of what a step damages."""
    key = entry.latent_key if step.touches == "latent" else entry.text_key
    assert key is not None  # a recipe that trains text takes no step that damages conditioning
    return key


@dataclass(frozen=True)
class _Company:
    """What a step sees of the other items. place: of the item itself among `others`. variant: of all of them."""

    place: int
    variant: int
    others: Sequence[Any]


def _value(tensors: dict[str, Tensor]) -> Any:
    """Return what a step damages: a latent [C, h, w], or `Words`."""
    if "latent" in tensors:
        return tensors["latent"][0]
    pooled = tensors.get(POOLED)
    return Words(tensors["cross_attn"][0], None if pooled is None else pooled[0])


def _changed(tensors: dict[str, Tensor], change: Callable[[Any], Any]) -> dict[str, Tensor]:
    """Return stored tensors with what a step damages replaced, or the same object when it was left alone."""
    before = _value(tensors)
    after = change(before)
    if after is before:
        return tensors
    if "latent" in tensors:
        return {**tensors, "latent": after[None].contiguous()}
    pooled = {} if after.pooled is None else {POOLED: after.pooled[None].contiguous()}
    return {**tensors, "cross_attn": after.sequence[None].contiguous(), **pooled}


def _text_to_tensors(text: TextConditioning) -> dict[str, Tensor]:
    extras = {f"extra.{name}": value.to("cpu") for name, value in text.extras.items() if isinstance(value, Tensor)}
    return {"cross_attn": text.cross_attn.to("cpu"), **extras}


def _text_from_tensors(tensors: dict[str, Tensor]) -> TextConditioning:
    extras = {name.removeprefix("extra."): value for name, value in tensors.items() if name.startswith("extra.")}
    return TextConditioning(tensors["cross_attn"], extras)


def _content_key(*parts: object) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _require_clean_text(dataset: Dataset) -> None:
    """Raise ValueError for a step that damages conditioning, which a trained text side makes anew in each step."""
    steps = [*dataset.steps, *(step for item in dataset.items for step in item.steps)]
    named = [step.name for step in steps if step.touches == "conditioning"]
    if named:
        raise ValueError(
            f"dataset: got the step {named[0]}, which damages encoded captions, with a recipe that trains words or "
            "text encoders and encodes them anew in each step, allowed is one of the two, take one out"
        )


def _require_one_size(name: str, variants: tuple[_Entry, ...]) -> None:
    shapes = sorted({entry.latent_shape for entry in variants})
    if len(shapes) > 1:
        raise ValueError(
            f"{name}: got variants of different sizes {shapes}, allowed one size per picture, "
            "put Frame Dataset after the step that changes the size at random"
        )
