"""Draw pictures that show no galaxy, to test whether a model knows what it does not know."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

Picture = Float[ndarray, "3 size size"]  # 0 to 255, and beyond
Random = np.random.Generator


def draw(kind: str, n: int, *, size: int = 64, seed: int = 0) -> UInt8[ndarray, "n 3 size size"]:
    """Draw `n` pictures of a kind, a key of `KINDS`."""
    random = np.random.default_rng([seed, *kind.encode()])
    pictures = np.stack([KINDS[kind](random, size) for _ in range(n)])
    return pictures.clip(0, 255).astype(np.uint8)


def _sky(random: Random, size: int) -> Picture:
    level, noise = random.uniform(5, 30), random.uniform(2, 12)
    return level + noise * random.normal(size=(3, size, size))


def _stars(random: Random, size: int, n: int, *, centred: bool = False) -> Picture:
    """Gaussians on a dark sky, with the seeing of the mock survey."""
    y, x = np.mgrid[:size, :size]
    picture = _sky(random, size)
    for _ in range(n):
        place = size / 2 + random.normal(size=2) if centred else random.uniform(0, size, 2)
        sigma, colour = random.uniform(0.9, 1.8), random.uniform(0.6, 1, 3)
        light = np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * sigma**2))
        picture += colour[:, None, None] * light * 255 * random.uniform(0.3, 2)
    return picture


def _colours(random: Random) -> list[tuple[int, ...]]:
    """Return two colours that differ clearly."""
    first, second = random.integers(0, 256, (2, 3))
    while abs(first - second).max() < 60:
        second = random.integers(0, 256, 3)
    return [tuple(map(int, each)) for each in (first, second)]


def _painted(random: Random, size: int, paint: Callable[..., None]) -> Picture:
    back, front = _colours(random)
    image = Image.new("RGB", (size, size), back)
    paint(ImageDraw.Draw(image), front)
    return np.asarray(image, float).transpose(2, 0, 1)


def _blank(random: Random, size: int) -> Picture:
    return random.uniform(0, 255) + random.uniform(1, 12) * random.normal(size=(3, size, size))


def _gradient(random: Random, size: int) -> Picture:
    y, x = np.mgrid[:size, :size] / size
    angle = random.uniform(0, 2 * np.pi)
    rise = np.cos(angle) * x + np.sin(angle) * y
    rise = (rise - rise.min()) / np.ptp(rise)
    back, front = np.array(_colours(random), float)
    return back[:, None, None] + (front - back)[:, None, None] * rise


def _texture(random: Random, size: int) -> Picture:
    """Noise with the power spectrum of photographs, 1 / f² (Field 1987)."""
    along = np.fft.fftfreq(size)
    frequency = np.hypot(*np.meshgrid(along, along))
    frequency[0, 0] = 1
    waves = np.fft.fft2(random.normal(size=(4, size, size))) / frequency
    planes = np.fft.ifft2(waves).real
    low, high = planes.min((1, 2), keepdims=True), planes.max((1, 2), keepdims=True)
    planes, grey = 255 * (planes - low) / (high - low), random.uniform(0.3, 0.9)
    return grey * planes[:1] + (1 - grey) * planes[1:]


def _text(random: Random, size: int) -> Picture:
    def paint(picture: ImageDraw.ImageDraw, colour: tuple[int, ...]) -> None:
        for _ in range(random.integers(1, 5)):
            letters = "".join(map(chr, random.integers(65, 91, random.integers(4, 14))))
            font = ImageFont.load_default(int(random.integers(9, 20)))
            place = float(random.integers(-5, 20)), float(random.integers(0, size - 8))
            picture.text(place, letters, fill=colour, font=font)

    return _painted(random, size, paint)


def _shapes(random: Random, size: int) -> Picture:
    def paint(picture: ImageDraw.ImageDraw, colour: tuple[int, ...]) -> None:
        for _ in range(random.integers(2, 7)):
            left, top = map(int, random.integers(0, size - 12, 2))
            width, height = map(int, random.integers(8, size // 2, 2))
            shape = picture.rectangle if random.random() < 0.6 else picture.ellipse
            shape([left, top, left + width, top + height], fill=_colours(random)[0])

    return _painted(random, size, paint)


def _trail(random: Random, size: int) -> Picture:
    image = Image.new("L", (size, size))
    ends = [(-2, int(random.integers(size))), (size + 2, int(random.integers(size)))]
    width = int(random.integers(1, 4))
    ImageDraw.Draw(image).line(ends, fill=int(random.integers(120, 256)), width=width)
    trail = np.asarray(image, float)
    return _sky(random, size) + (trail if random.random() < 0.5 else trail.T)


def _checkerboard(random: Random, size: int) -> Picture:
    y, x = np.mgrid[:size, :size] // random.integers(4, 17)
    back, front = np.array(_colours(random), float)
    return np.where((x + y) % 2, front[:, None, None], back[:, None, None])


KINDS: dict[str, Callable[[Random, int], Picture]] = {
    "sky": _sky,
    "blank": _blank,
    "noise": lambda random, size: random.uniform(0, 255, (3, size, size)),
    "gradient": _gradient,
    "one star": lambda random, size: _stars(random, size, 1, centred=True),
    "star field": lambda random, size: _stars(random, size, int(random.integers(3, 30))),
    "trail": _trail,
    "text": _text,
    "shapes": _shapes,
    "checkerboard": _checkerboard,
    "texture": _texture,
}
