"""One layer of a LoRA: what it adds to a weight, computed on its factors without ever writing out the whole product."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Layer:
    """Two factors whose product ``scale * up @ down`` is added to a weight.

    down: [r, in, ...] (a convolution's kernel behind it). up: [out, r, ...] (ones behind it).
    alpha: the scale is alpha / r; None: the scale is 1, as ComfyUI reads a file without it.
    mid: None, or a convolution's kernel [r, r, kh, kw] between the factors (LoCon's Tucker form).
    """

    down: Tensor
    up: Tensor
    alpha: float | None = None
    mid: Tensor | None = None

    @property
    def rank(self) -> int:
        """How many components the product is made of."""
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        """What the product of the factors is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / max(1, self.rank)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight it is added to: (out, in, kernel...)."""
        kernel = self.down.shape[2:] if self.mid is None else self.mid.shape[2:]
        return (int(self.up.shape[0]), int(self.down.shape[1]), *map(int, kernel))

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return up [out, r] and down [r, in * kernel] in float64 on the CPU, without the scale, `mid` folded in."""
        up = self.up.detach().to("cpu", torch.float64).flatten(1)
        down = self.down.detach().to("cpu", torch.float64)
        if self.mid is not None:
            mid = self.mid.detach().to("cpu", torch.float64)
            down = torch.einsum("ri,orhw->oihw", down.flatten(1), mid)
        return up, down.flatten(1)

    def with_factors(self, up: Tensor, down: Tensor) -> "Layer":
        """Return the layer with another up [out, k] and down [k, in * kernel], at the same scale and dtype.

        Numbers that the dtype cannot hold make the layer float32.
        """
        out, *inside = self.shape
        ones = [1] * (len(inside) - 1)
        new_up = _cast(up.reshape(out, up.shape[1], *ones), self.up.dtype)
        new_down = _cast(down.reshape(down.shape[0], *inside), self.down.dtype)
        alpha = None if self.alpha is None else self.scale * down.shape[0]
        return Layer(new_down, new_up, alpha)

    def times(self, factor: float) -> "Layer":
        """Return the layer with its product multiplied: the whole factor goes to `up`, the others stay as they are."""
        return replace(self, up=_cast(self.up.detach().double() * factor, self.up.dtype))

    def delta(self) -> Tensor:
        """Return the product with its scale, whole: float64 in the shape of the weight."""
        up, down = self.factors()
        return (self.scale * (up @ down)).reshape(self.shape)


def assembled(up: Tensor, down: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Layer:
    """Return ``up @ down`` as a layer of scale 1 for a weight of that shape: (out, in, kernel...).

    Each component's two sides get sizes that are nearly equal, by powers of two, which change no digit: a scale of
    1/128 in one of them alone would take it to where half precision loses digits.
    """
    empty = Layer(torch.empty(1, *shape[1:], dtype=dtype), torch.empty(shape[0], 1, dtype=dtype), 1.0)
    sizes = up.abs().amax(0), down.abs().amax(1)
    alive = (sizes[0] > 0) & (sizes[1] > 0)
    ratio = torch.where(alive, sizes[1] / sizes[0].where(alive, 1.0), 1.0)
    factor = torch.exp2((ratio.log2() / 2).round())
    return empty.with_factors(up * factor, down / factor[:, None])


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    cast = tensor.to(dtype).contiguous()
    return cast if torch.isfinite(cast.float()).all() else tensor.float().contiguous()


def norm(layer: Layer) -> float:
    """Return the Frobenius norm of the product, from the r x r Gram matrices of the factors."""
    up, down = layer.factors()
    return abs(layer.scale) * _norm(up, down)


def difference(one: Layer, other: Layer) -> float:
    """Return the Frobenius norm of the difference of two products of the same shape."""
    if one is other:
        return 0.0
    (up, down), (other_up, other_down) = one.factors(), other.factors()
    ups = torch.cat((one.scale * up, -other.scale * other_up), dim=1)
    return _norm(ups, torch.cat((down, other_down)))


def _norm(up: Tensor, down: Tensor) -> float:
    # The triangular factors keep small differences that squared Gram matrices would round away.
    core = torch.linalg.qr(up).R @ torch.linalg.qr(down.T).R.T
    return float(torch.linalg.norm(core))


def singular(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the singular value decomposition (W [out, k], S [k], V [k, in]) of ``up @ down``, k at most r.

    Two thin QR decompositions and an SVD of the small core between them. The largest entry of each column of W is
    positive, so that the signs do not depend on the machine.
    """
    left, right = torch.linalg.qr(up), torch.linalg.qr(down.T)
    w, values, v = torch.linalg.svd(left.R @ right.R.T, full_matrices=False)
    w, v = left.Q @ w, v @ right.Q.T
    largest = w.abs().argmax(dim=0, keepdim=True)
    signs = torch.where(w.gather(0, largest) < 0, -1.0, 1.0).to(w.dtype)
    return w * signs, values, v * signs.T


def balanced(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same product as factors made of its singular components, both of the same size.

    Trainers may scale one factor up and the other down, and mix components, without changing the product; what is
    done to these factors depends on the product alone.
    """
    w, values, v = singular(up, down)
    root = values.sqrt()
    return w * root, root[:, None] * v


def compressed(up: Tensor, down: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return factors of at most `rank` components: the best approximation there is (Eckart and Young, 1936)."""
    up, down = balanced(up, down)
    return up[:, :rank], down[:rank]


def low_rank(dense: Tensor, rank: int, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return factors [out, rank], [rank, in] near a dense matrix's best ones, by randomised subspace iteration.

    start: [in, k] directions to begin with, k at least `rank` (Halko, Martinsson and Tropp 2011, algorithm 4.4).
    """
    basis = torch.linalg.qr(dense @ start).Q
    for _ in range(2):
        basis = torch.linalg.qr(dense @ torch.linalg.qr(dense.T @ basis).Q).Q
    return compressed(basis, basis.T @ dense, rank)
