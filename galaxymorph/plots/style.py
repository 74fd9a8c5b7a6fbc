"""Common style and building blocks of all figures.

Plotting functions return a `Figure` that is not registered with pyplot, so a notebook shows it once
and it need not be closed. Some functions with a single panel accept an existing `ax`. They compute
only bins, fractions and error bars for display, and write no files.

Style (`STYLE`): 8 inches wide, so that text of at least 10 points is legible at the 800 pixels of a
README; colour-blind safe colours (Okabe & Ito 2008), always combined with different dashes or
markers."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from cycler import cycler
from jaxtyping import Float, UInt8
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage, imsave
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy import ndarray

from galaxymorph.escape import shortened

WIDTH = 8.0  # figure width, inches
DPI = 150  # of pictures in files; notebooks show them with 100
LETTER = 0.075  # inches per character at 10 points (an upper estimate), for layout before drawing
INK, FAINT, PALE = "#222222", "#767676", "#dddddd"
BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"
COLOURS = (BLUE, "#E69F00", GREEN, PINK, SKY, ORANGE, "#000000", FAINT)
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)), (0, (3, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_MAPS = {
    "white to blue": ["#ffffff", "#9ccbea", "#3f94cb", "#00609a", "#00304d"],
    "blue to orange": [BLUE, "#9ccbea", "#ffffff", "#f3b48d", ORANGE],
}
SEQUENTIAL, DIVERGING = (
    LinearSegmentedColormap.from_list(name, colours).with_extremes(bad="#e8e8e8")
    for name, colours in _MAPS.items()
)
STYLE: Any = {
    "figure.dpi": 100,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 10),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), FAINT),
    **dict.fromkeys(("legend.frameon", "axes.spines.top", "axes.spines.right"), False),
    "axes.prop_cycle": cycler(color=COLOURS, linestyle=DASHES),
    "axes.axisbelow": True,
    "grid.color": PALE,
    "image.cmap": "cividis",
    "text.parse_math": False,  # names are data: `$` is a letter
}
POINT: Any = {"color": BLUE, "marker": "o", "ms": 6, "lw": 2}  # an estimate with its interval
DASHED: Any = {"ls": "--", "lw": 1.5}  # reference: baseline, control, noise floor
NO_RESULT = "no method has a result yet"
Cells = Float[ndarray, "row column"]

styled = rc_context(STYLE)  # decorator of all plotting functions


class Picture(Figure):
    """A figure that notebooks show in high resolution with any matplotlib backend.

    Ticks are made when it is drawn, also without formulas."""

    @rc_context({"text.parse_math": False})
    def draw(self, renderer: Any) -> None:
        super().draw(renderer)

    @rc_context({"text.parse_math": False})
    def savefig(self, *given: Any, **options: Any) -> None:
        super().savefig(*given, **options)

    def _repr_png_(self) -> tuple[bytes, dict[str, float]]:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=DPI)
        return file.getvalue(), {"width": self.get_figwidth() * 100}


def png(figure: Figure, caption: str | None = None) -> bytes:
    """Return a figure as a PNG picture, cropped to what it shows, with its caption as metadata.

    The layout keeps all but the figure's own texts inside: then it is drawn only once, while
    `savefig` would draw it once more to find out where things are."""
    file, about = io.BytesIO(), {"Description": caption} if caption else {}
    how: Any = {"format": "png", "metadata": about}
    how["pil_kwargs"] = {"compress_level": 1}  # 10 % larger, 4 times as fast
    drawn = _drawn(figure) if isinstance(figure, Picture) and not figure.texts else None
    if drawn is None:
        figure.savefig(file, dpi=DPI, bbox_inches="tight", **how)
    else:
        imsave(file, drawn, dpi=DPI, **how)
    return file.getvalue()


def _drawn(figure: Figure) -> UInt8[ndarray, "row column 4"] | None:
    """Return the pixels of a figure with a margin of 0.1 inches, or None if it may be cut off."""
    dpi, canvas = figure.dpi, figure.canvas
    figure.set_dpi(DPI)
    try:
        (agg := FigureCanvasAgg(figure)).draw()
    finally:
        figure.set_canvas(canvas)
        figure.set_dpi(dpi)
    pixels = np.asarray(agg.buffer_rgba())
    inked = (pixels != pixels[0, 0]).any(2)
    rows, columns = (np.flatnonzero(inked.any(axis)) for axis in (1, 0))
    if not len(rows) or inked[[0, -1]].any() or inked[:, [0, -1]].any():
        return None
    shown = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    edge = DPI // 10
    framed = np.empty((shown.shape[0] + 2 * edge, shown.shape[1] + 2 * edge, 4), np.uint8)
    framed[:] = pixels[0, 0]
    framed[edge:-edge, edge:-edge] = shown
    return framed


# ---- panels


def panels(
    n: int, columns: int | None = None, *, height: float, more: float = 0.0, **share: Any
) -> tuple[Figure, Any]:
    """Make `n` panels of full width in a number of columns (default: one row).

    `height`: inches per row; `more`: additional inches for the figure."""
    columns = min(columns or n, n)
    rows = -(-n // columns)
    size = WIDTH, height * rows + more
    figure = Picture(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.1))
    axes = figure.subplots(rows, columns, squeeze=False, **share)
    for ax in axes.flat[n - columns : n]:  # the last of each column, also for shared axes
        ax.tick_params(labelbottom=True)
    for ax in axes.flat[n:]:
        ax.set_axis_off()
    return figure, axes


def panel(ax: Axes | None = None, *, width: float = WIDTH, height: float) -> tuple[Figure, Axes]:
    """Return the given panel and its figure, or new ones."""
    if ax is None:
        figure = Picture(figsize=(width, height), layout="constrained")
        return figure, figure.add_subplot()
    return ax.get_figure(root=True), ax  # pyright: ignore[reportReturnType]


def panel_beside(names: Sequence[str]) -> tuple[Figure, Axes, list[str]]:
    """Make a panel with room for a legend of `names` on its right; return them line-wrapped."""
    names = in_lines(names, letters=30)
    figure, ax = panel(height=max(4.2, 1.2 + 0.205 * lines(names)))
    return figure, ax, names


def empty(text: str, ax: Axes | None = None) -> Figure:
    """Make a figure, or fill a panel, with a note on why it is empty."""
    figure, ax = panel(ax, height=0.6)
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes)
    return figure


# ---- looks, legends, axes


def look(i: int, **more: Any) -> dict[str, Any]:
    """Return colour, dashes and marker of the i-th item; the first 64 are distinct."""
    other = (i + i // 8) % 8
    return {"color": COLOURS[i % 8], "ls": DASHES[other], "marker": MARKERS[other]} | more


def legend(figure: Figure, looks: Mapping[str, Any], **more: Any) -> None:
    """Draw a legend at the upper right of the panels, from looks by name.

    A look describes a line or marker, an area (with a face colour `fc`), or text (`{"ls": ""}`)."""
    handles = [
        Patch(label=name, **look) if "fc" in look else Line2D([], [], label=name, **look)
        for name, look in looks.items()
    ]
    figure.legend(handles=handles, **{"loc": "outside upper right", "ncols": 3} | more)


def epoch_axis(ax: Axes, label: str = "epoch") -> None:
    """Label an x axis that shows integers."""
    ax.set_xlabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y")


# ---- rows of points with their intervals


def ends(rows: Any, name: str = "value") -> list[Float[ndarray, " row"]]:
    """Return the columns `<name>_low`, `<name>` and `<name>_high`, or low, `<name>` and high."""
    of = f"{name}_" if f"{name}_low" in rows else ""
    return [rows[column].to_numpy(float) for column in (f"{of}low", name, f"{of}high")]


def estimates(
    ax: Axes, places: Any, rows: Any, name: str = "value", *, lw: float = 2, **look: Any
) -> None:
    """Draw estimates (see `ends`) as points with error bars at the heights `places`."""
    look, (low, value, high) = POINT | {"ls": ""} | look, ends(rows, name)
    ax.hlines(places, low, high, color=look["color"], lw=lw, ls="-")
    ax.plot(value, places, **look)


def row_axis(
    ax: Axes, names: Sequence[str], label: str = "", *, ticks: int = 0, margin: float = 0.05
) -> None:
    """Label the heights 0, 1, ... with `names`, and the x axis; `ticks`: maximum number."""
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(-0.6, len(names) - 0.4), xlabel=label, xmargin=margin)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    if ticks:
        ax.xaxis.set_major_locator(MaxNLocator(ticks))


def method_axis(ax: Axes, rows: pd.DataFrame, column: str, label: str, **axis: Any) -> None:
    """Label the heights with the methods of a comparison, and note missing values."""
    names = zip(in_lines(with_labels(rows)), rows.seeds, strict=True)
    names = [f"{name} ({n} seed{'s' * (n != 1)})" for name, n in names]
    row_axis(ax, names, label, **axis)
    ax.set_ylim(bottom=-0.9)  # room for text below the first
    for place, row in enumerate(rows.to_dict("records")):
        if pd.isna(row[column]):  # not_run of a file may be NaN
            absent(ax, place, "not run" if isinstance(row.get("not_run"), str) else "missing")


def absent(ax: Axes, height: int, text: str) -> None:
    """Note in a row why it is empty."""
    at_row(ax, 0.02, height, text, color=FAINT, bbox={"fc": "white", "ec": "none", "pad": 1})


def at_row(ax: Axes, x: float, height: float | int, text: str, **look: Any) -> None:
    """Write text; `height` is in data units, `x` is a fraction of the panel's width."""
    ax.text(x, height, text, **{"va": "center", "transform": ax.get_yaxis_transform()} | look)


# ---- heat maps


def heat_map(
    ax: Axes, values: Cells, texts: ndarray, names: Sequence[str], size: int = 10, **look: Any
) -> AxesImage:
    """Draw values as colours (grey if NaN) with `texts` in the cells, faint if 0 or NaN.

    `names`: labels of the rows; `look`: options of `imshow`."""
    shown = np.ma.masked_invalid(values)
    image = ax.imshow(shown, **{"cmap": SEQUENTIAL, "aspect": "auto"} | look)
    dark = image.to_rgba(shown)[..., :3] @ [0.2126, 0.7152, 0.0722] < 0.52
    colours = np.where(dark, "white", np.where(abs(values) > 0, INK, FAINT))
    for row, column in np.argwhere(texts != ""):
        look = {"ha": "center", "va": "center", "color": colours[row, column], "fontsize": size}
        ax.text(column, row, str(texts[row, column]), **look)
    ax.set_yticks(range(len(names)), names)
    frameless(ax)
    return image


def class_map(
    values: Cells, texts: ndarray, counts: Mapping[str, Any], ax: Axes | None = None, **look: Any
) -> tuple[Figure, Axes, AxesImage]:
    """Draw a heat map of true classes (rows) and predicted classes (columns).

    `counts`: galaxies by true class; `look`: options of `heat_map` (`size`: in small cells)."""
    classes, n = short(counts), len(counts)
    names = [f"{name} (n = {k:,})" for name, k in zip(classes, counts.values(), strict=True)]
    left = inches(names) + 0.5
    cell = min(max(0.85, 1.6 / n), (WIDTH - left - 1.2) / n)
    figure, ax = panel(ax, width=left + cell * n + 1.2, height=cell * n + 0.5)
    size = 10 if cell > 0.5 else look.pop("size", 10)
    image = heat_map(ax, values, texts, names, **look | {"size": size, "aspect": "equal"})
    ax.set(xlabel="predicted class", ylabel="true class")
    if names_below(ax, classes, pitch=cell):
        figure.set_figheight(figure.get_figheight() + 0.6 * inches(classes))
    return figure, ax, image


def colour_bar(image: AxesImage, label: str, ticks: Any = None) -> Axes:
    """Draw a colour bar beside an image, as high as it is; `ticks` may be a dict with labels."""
    ax, (_, right, bottom, top) = image.axes, image.get_extent()
    (right, low), (_, high) = ax.transLimits.transform([(right, bottom), (right, top)])
    inch = ax.figure.dpi / ax.bbox.width  # as a fraction of the panel
    place = ax.inset_axes((right + 0.07 * inch, low, 0.15 * inch, high - low))
    bar = ax.figure.colorbar(image, cax=place, ticks=ticks and list(ticks), label=label)
    if isinstance(ticks, dict):
        place.set_yticklabels(list(ticks.values()))
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return place


def frameless(ax: Axes) -> None:
    """Remove spines and tick marks, but keep tick labels."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


# ---- names


def labels(n: Any) -> str:
    """Return `1,000 labels`, or `all labels` if the number is missing."""
    return "all labels" if pd.isna(n) else f"{n:,} labels"


def span(values: pd.Series) -> str:
    """Return `160 to 162`, or `160` if all values are equal."""
    return " to ".join(f"{n:,}" for n in sorted({values.min(), values.max()}))


def interval(rows: pd.DataFrame) -> str:
    """Describe the points and error bars of a comparison for a legend."""
    of = "mean over seeds" if rows.seeds.max() > 1 else "one seed"
    n = rows.n_test.astype("Int64")
    if "n_test_all" in rows:  # disjoint folds count in all
        every = rows["n_test_all"].astype("Int64")
        n = n.mask((every >= rows.seeds * n).fillna(False).astype(bool), every)
    return f"{of} with its 95 % interval (n = {span(n)} test galaxies)"


def with_labels(rows: pd.DataFrame) -> list[str]:
    """Return the method of each row, with its number of labels if there are several."""
    several = len(set(map(labels, rows.n_labels))) > 1
    pairs = zip(rows.method, rows.n_labels, strict=True)
    return [f"{method}, {labels(n)}" if several else method for method, n in pairs]


def short(names: Iterable[object], letters: int = 24) -> list[str]:
    """Shorten names to a line of `letters` each; matplotlib hides those that begin with `_`."""
    shown = (shortened(name, letters) for name in names)
    return [f" {name}" if name.startswith("_") else name for name in shown]


def in_lines(names: Iterable[str], *, letters: int = 34) -> list[str]:
    """Wrap names into lines of at most `letters`, preferably after spaces, `_` and commas.

    Lines of names longer than three of these are shortened."""
    words = re.compile(f"[^ _,]{{0,{letters}}}[ _,]+|[^ _,]{{1,{letters}}}")
    broken = []
    for name in names:
        parts = []
        for line in short(name.split("\n"), 3 * letters):
            parts.append("")
            for word in words.findall(line):
                if parts[-1] and len(parts[-1] + word.rstrip()) > letters:
                    parts.append("")
                parts[-1] += word
        broken.append("\n".join(part.rstrip() for part in parts if part))
    return broken


def lines(names: Sequence[str]) -> int:
    """Return the total number of lines of all names."""
    return sum(1 + name.count("\n") for name in names)


def inches(names: Sequence[str]) -> float:
    """Estimate the width of the longest line of any name, in inches."""
    return LETTER * max(len(line) for name in names for line in name.split("\n"))


def names_below(ax: Axes, names: Sequence[str], *, pitch: float) -> bool:
    """Label 0, 1, ... on the x axis; slant labels wider than `pitch` inches, and return whether."""
    names = short(names)
    slanted = inches(names) > pitch
    ax.set_xticks(range(len(names)), names, rotation=40 if slanted else 0, rotation_mode="xtick")
    return slanted
