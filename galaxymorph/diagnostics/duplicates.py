"""Find duplicate galaxies: identical images, and rotated, shifted or recompressed copies."""

import io
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from PIL import Image
from scipy import linalg, ndimage, spatial
from torch import Tensor
from torch.nn import functional

from galaxymorph.pixels import Pixels, orientations

Planes = Float[Tensor, "galaxy size size"]
Sums = Int[ndarray, "galaxy 6"]
Rows = Int[ndarray, " row"]
Pairs = Int[ndarray, "pair 2"]  # of rows
One = UInt8[ndarray, "3 size size"]

SIDE = 64  # px; larger images are compared at this size
REACH = 3  # px by which copies may be shifted
# Measured on 5,000 mock and 6,567 real galaxies (Galaxy Zoo, 64 px), 500 of each copied with a
# rotation, a shift by 1 or 2 px and JPEG quality 60 to 90: copies had correlations above 0.87 and
# differences below 0.11; other pairs with correlations above 0.75 had differences of at least 0.2.
CORRELATION, DIFFERENCE = 0.8, 0.12
# Smaller images of different galaxies can be as alike: of the 6,567 real ones, 38 pairs at 32 px
# and 3 at 40 px; of 24,000 mock ones, about 620 at 32, 10 at 40, 3 at 48 and 1 at 56 px. Structure
# half as large tells them apart: its correlation was up to 0.71, 0.60, 0.54 and 0.46 for them, but
# above `FINE` for 90 % (32 px) to 99 % of the copies. At 24 px it was up to 0.88 for different
# galaxies, so that only identical images can be recognised.
SMALLEST = 32  # px
FINE = ((32, 48, 64), (0.75, 0.58, 0.5))  # size in px, and least correlation; linear in between
NEIGHBOURS = 5  # candidates per galaxy
CHUNK = 128  # galaxies processed together
# Rotations and mirrors permute the amplitudes at (a, b), (a, -b), (b, a), (b, -a) in these ways;
# half a turn changes none.
TURNS = ((0, 1, 2, 3), (1, 0, 3, 2), (2, 3, 0, 1), (3, 2, 1, 0))


def duplicates(images: Pixels) -> pd.DataFrame:
    """Find pairs of images that show the same galaxy.

    Returns one row per pair: `first` and `second` (positions in `images`), `kind` (exact or near),
    `correlation` and `difference`. If several images are identical, all are paired with the first,
    and only the first is compared with others for near copies. Blank images (`blank`) show no
    galaxy, so none of them is a copy. Near copies of images below `SMALLEST` are not looked for.

    1. Identical up to rotations and mirrors: by sums of pixel values and of their squares, which
       are invariant, then by comparing all bytes.
    2. Candidates: amplitudes of low spatial frequencies do not depend on the position of a galaxy
       and, sorted over the 8 symmetries of the square, not on its orientation. Linear
       discriminants, which separate galaxies but not shifted and compressed copies of a few of
       them, are points of a k-d tree. The 5 nearest points within reach of such copies are
       candidates if the unsorted amplitudes agree in one orientation, too.
    3. Verification on pixels, in the best of all 8 orientations and shifts up to 3 px: the
       correlation of local structure (differences of Gaussians, divided by their local spread, so
       that a bright core counts no more than the sky) and the difference of colours over 4 x 4 px,
       relative to their spread, must be those of copies (`CORRELATION`, `DIFFERENCE`), and in
       images below 64 px also the correlation of finer structure (`FINE`)."""
    shown = np.flatnonzero(~blank(images))
    exact = [(*pair, "exact", 1.0, 0.0) for pair in _identical(images, shown)]
    rows = np.setdiff1d(shown, [pair[1] for pair in exact])
    size = images.shape[-1]
    pairs = _candidates(images, rows if size >= SMALLEST else rows[:0])
    parts = np.array_split(pairs, max(1, len(pairs) // 64))
    verified = np.concatenate([_verified(images, part) for part in parts])
    good = (verified[:, 0] >= CORRELATION) & (verified[:, 1] <= DIFFERENCE)
    if size < SIDE:
        good &= verified[:, 2] >= np.interp(size, *FINE)
    both = zip(pairs[good].tolist(), verified[good, :2].tolist(), strict=True)
    near = [(*pair, "near", *measured) for pair, measured in both]
    columns = ["first", "second", "kind", "correlation", "difference"]
    return pd.DataFrame(exact + near, columns=columns)


def blank(images: Pixels) -> Bool[ndarray, " galaxy"]:
    """Return which images have one colour everywhere: failed exposures, missing data."""
    parts = [part.flatten(2) for part in images.split(CHUNK)]
    flat = [(part.amax(2) == part.amin(2)).all(1).numpy() for part in parts if len(part)]
    return np.concatenate([np.zeros(0, bool), *flat])


def sums(images: Pixels) -> Sums:
    """Sum pixel values and their squares, by band."""
    # filled in place: small results between large buffers would keep those allocated
    totals = np.empty((len(images), 6), int)
    for start in range(0, len(images), CHUNK):
        values = images[start : start + CHUNK].flatten(2).int()
        totals[start : start + CHUNK, :3] = values.sum(2)
        totals[start : start + CHUNK, 3:] = (values * values).sum(2)
    return totals


def _identical(images: Pixels, rows: Rows) -> list[tuple[int, int]]:
    """Find pairs of rows, the first and each later one, with the same bytes in some orientation."""
    totals = sums(images)[rows]
    _, key, count = np.unique(totals, axis=0, return_inverse=True, return_counts=True)
    first, pairs = dict[bytes, int](), []
    for row in rows[count[key.reshape(-1)] > 1].tolist():
        canonical = min(turned.numpy().tobytes() for turned in orientations(images[row]))
        if first.setdefault(canonical, row) != row:
            pairs.append((first[canonical], row))
    return pairs


def _small(images: Pixels, side: int) -> Float[Tensor, "galaxy 3 new new"]:
    """Convert to float in [0, 255], averaged down to at most `side` px."""
    return functional.adaptive_avg_pool2d(images.float(), min(side, images.shape[-1]))


def _amplitudes(images: Pixels) -> Float[Tensor, "galaxy wave 4"]:
    """Square roots of low-frequency amplitudes of brightness (7 waves across) and colours (3)."""
    red, green, blue = _small(images, SIDE // 2).unbind(1)
    side = red.shape[-1]
    edge = torch.sin(torch.pi * (torch.arange(side) + 0.5) / side) / np.sin(0.15 * np.pi)
    # 1 in the middle, falling to 0 over the outer 15 %
    window = torch.sin(edge.clamp_max(1) * torch.pi / 2) ** 2
    planes = (((red + green + blue) / 3, 7), (red - blue, 3), (green - (red + blue) / 2, 3))
    found = []
    for plane, most in planes:
        spectrum = torch.fft.fft2(plane * window[:, None] * window).abs() / side
        # one of each set that the symmetries exchange
        waves = [(a, b) for a in range(most + 1) for b in range(a + 1) if a**2 + b**2 <= most**2]
        a, b = np.array(waves).T
        places = ((a, b), (a, -b), (b, a), (b, -a))
        found.append(torch.stack([spectrum[:, y, x] for y, x in places], 2))
    return torch.cat(found, 1).sqrt()


def _shaken(image: One, generator: np.random.Generator) -> One:
    """Copy an image, shifted by up to 2 px (of 64) and compressed as JPEG."""
    size = image.shape[-1]
    most = max(1, round(2 * size / SIDE))
    y, x = generator.integers(0, 2 * most + 1, 2)
    padded = np.pad(image, ((0, 0), (most, most), (most, most)), mode="edge")
    shifted = padded[:, y : y + size, x : x + size].transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shifted)).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


def _candidates(images: Pixels, rows: Rows) -> Pairs:
    """Find pairs of rows whose amplitudes differ no more than those of copies."""
    if len(rows) < 2:
        return np.empty((0, 2), int)
    generator = np.random.default_rng(0)
    parts = np.array_split(rows, -(-len(rows) // CHUNK))
    found = torch.cat([_amplitudes(images[torch.from_numpy(part)]) for part in parts])
    tried = generator.integers(0, len(rows), 500)
    copies = np.stack([_shaken(images[rows[row]].numpy(), generator) for row in tried])
    shaken = _amplitudes(torch.from_numpy(copies))

    ordered = torch.cat([part.sort(2).values.flatten(1) for part in found.split(CHUNK)]).numpy()
    noise = shaken.sort(2).values.flatten(1).double().numpy() - ordered[tried]
    within = noise.T @ noise / len(noise)
    within += np.eye(len(within)) * (0.05 * np.trace(within) / len(within) + 1e-6)
    axes = linalg.eigh(np.cov(ordered[:: 1 + len(rows) // 5000].T), within)[1][:, -12:]
    # contains almost all copies; a few, with a bright neighbour at the edge, move far
    reach = 1.6 * np.quantile(np.linalg.norm(noise @ axes, axis=1), 0.995)
    points, k = ordered @ axes, NEIGHBOURS + 1
    near = spatial.KDTree(points).query(points, k=k, distance_upper_bound=reach, workers=-1)[1]
    first, second = np.repeat(np.arange(len(rows)), k), near.ravel()
    there = (second < len(rows)) & (second != first)  # len(rows): no neighbour
    pairs = np.unique(np.sort(np.stack([first[there], second[there]], 1), 1), axis=0)

    moves = (shaken - found[torch.from_numpy(tried)]).square()
    spread = moves.mean((0, 2), keepdim=True).sqrt() + 1e-3
    most = 1.4 * (moves / spread[0].square()).mean((1, 2)).quantile(0.995).sqrt()
    close = []
    for part in np.array_split(pairs, -(-len(pairs) // 8192) or 1):
        a, b = (found[torch.from_numpy(column)] for column in part.T)
        apart = [((a[:, :, turn] - b) / spread).square().mean((1, 2)).sqrt() for turn in TURNS]
        close.append((torch.stack(apart).amin(0) <= most).numpy())
    return rows[pairs[np.concatenate(close)]]


def _structure(pixels: Float[Tensor, "galaxy 3 size size"], scale: float) -> Planes:
    """Local structure of the brightness, normalised wherever it exceeds rounding errors.

    It is `scale` to four times `scale` px large."""
    blurred = partial(ndimage.gaussian_filter, axes=(1, 2), mode="nearest", truncate=3)
    grey = pixels.mean(1).numpy()
    detail = blurred(grey, scale) - blurred(grey, 4 * scale)
    return torch.from_numpy(detail / np.sqrt(blurred(detail**2, 4 * scale) + 4))  # 2 of 255 levels


def _verified(images: Pixels, pairs: Pairs) -> Float[ndarray, "pair 3"]:
    """Correlation and difference of each pair, in the best orientation and at the best shift.

    The third column is the correlation of structure half as large."""
    if not len(pairs):
        return np.empty((0, 3))
    one, other = (_small(images[torch.from_numpy(rows)], SIDE) for rows in pairs.T)
    detail, size, n = _structure(one, 1.0), one.shape[-1], 2 * REACH + 1
    turned = torch.stack(orientations(_structure(other, 1.0)), 1)
    fine, fine_turned = _structure(one, 0.5), torch.stack(orientations(_structure(other, 0.5)), 1)
    product = torch.fft.rfft2(detail)[:, None] * torch.fft.rfft2(turned).conj()
    agreement = torch.fft.irfft2(product, s=(size, size)).roll((REACH, REACH), (-2, -1))
    best = agreement[..., :n, :n].flatten(1).argmax(1).tolist()
    results = []
    for row, place in enumerate(best):
        turn, *shift = place // n**2, place // n % n - REACH, place % n - REACH
        here = tuple(slice(max(by, 0), size + min(by, 0)) for by in shift)
        there = tuple(slice(max(-by, 0), size + min(-by, 0)) for by in shift)
        alike = [
            functional.cosine_similarity(a[row][here].flatten(), b[row, turn][there].flatten(), 0)
            for a, b in ((detail, turned), (fine, fine_turned))
        ]
        both = [one[row][:, *here], orientations(other[row])[turn][:, *there]]
        a, b = functional.avg_pool2d(torch.stack(both), 4)
        difference = (a - b).square().mean().sqrt() / (a.std() + 4)
        results.append([each.item() for each in (alike[0], difference, alike[1])])
    return np.array(results)
