"""The look that figures share, and what their tests share: that nothing is cut off or overlaps."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from PIL import Image

from galaxymorph.plots import style

NAMES = ("round", "in-between", "edge-on", "spiral")


TEN = (
    *("disturbed", "merging", "round smooth", "in-between smooth", "cigar smooth", "barred spiral"),
    *("tight spiral", "loose spiral", "edge-on without bulge", "edge-on with bulge"),
)


def images(n, size=16):
    return np.random.default_rng(0).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def texts(figure):
    """All text that is drawn."""
    drawn = {}
    draw = Text.draw

    def noted(text, renderer):
        if text.get_visible() and text.get_text():
            drawn[id(text)] = text
        return draw(text, renderer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", noted)
        figure.draw_without_rendering()
    return list(drawn.values())


def words(figure):
    return [t.get_text() for t in texts(figure)]


def check_texts(figure, smallest=10):
    """Text is legible, and none is cut off or overlaps another."""
    found = texts(figure)
    width, height = figure.bbox.width, figure.bbox.height
    assert width <= 100 * style.WIDTH + 1  # no smaller than life in 800 pixels
    upright = []
    for text in found:
        box = text.get_window_extent()
        inside = min(box.x0, box.y0) > -1.1 and box.x1 < width + 1.1 and box.y1 < height + 1.1
        assert inside, f"{text.get_text()!r} at {box} is cut off in {width} x {height}"
        assert text.get_fontsize() >= smallest
        if text.get_rotation() == 0:
            upright.append((text.get_text(), box))
    for i, (a, first) in enumerate(upright):
        for b, second in upright[i + 1 :]:
            x = min(first.x1, second.x1) - max(first.x0, second.x0)
            y = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert x <= 2 or y <= 2, f"{a!r} and {b!r} overlap by {x:.0f} x {y:.0f} pixels"


def lab(rgb, seen_through=None):
    """CIE L*a*b* (D65) of sRGB colours, as they are or as seen through a matrix on linear RGB."""
    rgb = np.asarray(rgb)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if seen_through is not None:
        linear = np.clip(linear @ np.transpose(seen_through), 0, 1)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    ratio = linear @ to_xyz.T / to_xyz.sum(1)
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def test_the_colour_map_is_even_in_lightness():
    steps = -np.diff(lab(style.SEQUENTIAL(np.linspace(0, 1, 21))[:, :3])[:, 0])
    assert (steps > 0).all() and steps.max() / steps.min() < 1.6


# what is left of colours without one kind of cone (Machado, Oliveira & Fernandes 2009, table 1,
# severity 1)
VISION = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("vision", VISION)
def test_the_colour_blind_distinguish_colours(vision):
    seen = lab([to_rgb(c) for c in style.COLOURS], VISION[vision])
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=2)[np.triu_indices(len(seen), 1)]
    assert distance.min() > 8, distance.min()  # 2.3 is just noticeable


def picture(png):
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")), image.info


@pytest.mark.parametrize("outside", [False, True])
def test_a_png_shows_all_that_matplotlib_would(outside):
    figure, ax = style.panel(height=3.0)
    ax.plot([0, 1], [0, 1])
    ax.set(xlabel="epoch", aspect="equal")  # with much white on both sides
    if outside:
        figure.text(-0.02, 0.5, "cut off by the edge of the figure")
    expected = io.BytesIO()
    figure.savefig(expected, format="png", dpi=style.DPI, bbox_inches="tight")
    before = figure.dpi, figure.canvas
    shown, about = picture(style.png(figure, "a diagonal"))
    assert (figure.dpi, figure.canvas) == before
    wanted, _ = picture(expected.getvalue())
    assert about["Description"] == "a diagonal" and about["dpi"] == pytest.approx((150, 150), 1e-3)
    assert np.allclose(shown.shape, wanted.shape, atol=12)  # letters have empty space around them
    dark = [(pixels < 128).any(2).sum() for pixels in (shown, wanted)]
    assert dark[0] == pytest.approx(dark[1], rel=0.02)
    edges = shown[[0, -1]].min(), shown[:, [0, -1]].min()
    assert edges == (255, 255)
