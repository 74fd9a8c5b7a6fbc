"""Compact binary data for a page: columns of numbers and names, and sheets of thumbnails.

An array becomes the text of a `<script>` element that no browser runs: its bytes, compressed by
gzip, in base64. `assets/unpack.js` reads it."""

import base64
import gzip
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

MANY = 20_000  # galaxies: above, numbers keep 3 digits
NAMES = 200  # different values of a column that can be filtered by value
SHEET = 2048  # px, side of a sheet of thumbnails: a size that every phone decodes
QUALITIES = (88, 80, 70, 60, 50, 40, 30)

Pixels = UInt8[ndarray, "galaxy side side 3"]


class Blobs(list[str]):
    """Texts of the script elements of a page, to which arrays are added."""

    def add(self, values: ndarray | bytes, level: int = 6) -> int:
        """Add the bytes of an array; return its number. Level 0 is for what is compressed."""
        raw = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
        packed = gzip.compress(raw, level, mtime=0) if level else raw
        self.append(base64.b64encode(packed).decode())
        return len(self) - 1

    def texts(self, values: Sequence[str]) -> int:
        """Add a list of texts; return its number."""
        return self.add(json.dumps(list(values), ensure_ascii=False).encode())

    def column(self, values: pd.Series, first: Sequence[str] = ()) -> dict[str, Any]:
        """Add a column; return its description. Names are sorted, after those in `first`.

        * `class`: codes of up to `NAMES` different values, "" where missing;
        * `text`: more values than that;
        * `fraction`: real numbers in [0, 1], kept to 2e-5 (of many galaxies to 0.004);
        * `number`: all others, in single precision (of many galaxies three digits)."""
        many = len(values) > MANY
        if not pd.api.types.is_numeric_dtype(values) or values.dtype == bool:
            if values.dtype == bool:
                values = values.map({True: "yes", False: "no"})
            texts = values.astype(object).where(values.notna(), "").astype(str)
            there = set(texts)
            names = [name for name in first if name in there]
            names += sorted(there.difference(names), key=lambda name: (not name, name))
            if len(names) > NAMES:
                return {"kind": "text", "at": self.texts(texts.tolist())}
            kind: Any = np.uint8 if len(names) < 256 else np.uint16
            codes = pd.Index(names).get_indexer(pd.Index(texts)).astype(kind)
            return {"kind": "class", "names": names, "at": self.add(codes)}
        numbers = values.to_numpy(float)
        known = numbers[np.isfinite(numbers)]
        whole = pd.api.types.is_integer_dtype(values)
        if not whole and len(known) and known.min() >= 0 and known.max() <= 1:
            return {"kind": "fraction"} | self.fractions(numbers, small=many)
        single = numbers.astype(np.float32)
        if many:  # the last 12 of 23 binary digits: zeros take no space
            single = (single.view(np.uint32) & np.uint32(0xFFFFF000)).view(np.float32)
        return {"kind": "number", "at": self.add(single)}

    def fractions(self, values: ndarray, *, small: bool) -> dict[str, Any]:
        """Add numbers in [0, 1] of any shape as whole numbers, of one byte if `small`; NaN is the
        largest of them."""
        kind, scale = (np.uint8, 250) if small else (np.uint16, 50_000)
        known = np.isfinite(values)
        coded = np.where(known, np.rint(np.where(known, values, 0).clip(0, 1) * scale), -1)
        return {"scale": scale, "at": self.add(coded.astype(np.int64).astype(kind))}

    def sheets(self, pixels: Pixels, tile: int, budget: int) -> dict[str, Any]:
        """Add thumbnails of `tile` px as sheets in JPEG, of the best quality that fits a budget.

        `budget`: bytes per thumbnail. Raises `ValueError` unless they are uint8 (galaxy, side,
        side, 3)."""
        across = SHEET // tile
        each = across**2
        parts = [pixels[i : i + each] for i in range(0, len(pixels), each)]
        quality = QUALITIES[0]
        if parts:
            first = _sheet(parts[0], tile)
            sizes = ((q, len(_jpeg(first, q))) for q in QUALITIES)
            most = budget * len(parts[0])
            quality = next((q for q, size in sizes if size <= most), QUALITIES[-1])
        sheets = [self.add(_jpeg(_sheet(part, tile), quality), level=0) for part in parts]
        return {"tile": tile, "across": across, "sheets": sheets, "n": len(pixels)}


def _sheet(pixels: Pixels, tile: int) -> Image.Image:
    """Lay thumbnails out row by row."""
    across = SHEET // tile
    rows = -(-len(pixels) // across)
    canvas = Image.new("RGB", (tile * min(across, len(pixels)), tile * rows))
    for i, picture in enumerate(pixels):
        image = Image.fromarray(picture)
        if image.size != (tile, tile):
            image = image.resize((tile, tile), Image.Resampling.LANCZOS)
        canvas.paste(image, (i % across * tile, i // across * tile))
    return canvas


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()
