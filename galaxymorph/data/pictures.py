"""Open image files and convert them to RGB."""

import io
import math
import re
import stat
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, UnidentifiedImageError

from galaxymorph.project import bounded, bounds

FORMATS = {  # all that are opened, and the endings of their files; the content decides
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
}
IMAGES = tuple(ending for endings in FORMATS.values() for ending in endings)
DAMAGED = "a JPEG file that is damaged inside: part of the picture is lost"

LEFT_OUT = "left out: "

RGB = tuple[UInt8[ndarray, "height width 3"], str]  # pixels, and what was repaired, or ""
File = tuple[Image.Image, str]  # the same for an image file not yet decoded


def read_image(file: str, archive: zipfile.ZipFile | None = None) -> File:
    """Open an image file of one of `FORMATS`, perhaps in a zip; `cutouts.cutout` decodes it.

    Raises `ValueError` for other files, too large ones (`project.BOUNDS`), and pages that may be
    bands."""
    size = archive.getinfo(file).file_size if archive else regular(file)
    if more := bounded("image_mb", size / 1e6):
        raise ValueError(f"{size / 1e6:,.1f} MB; {more}")
    return image_of(archive.read(file) if archive else Path(file).read_bytes())


def image_of(content: bytes) -> File:
    """Open an encoded image of one of `FORMATS`; see `read_image`."""
    most = bounds()["megapixels"] * 1e6
    if most > (Image.MAX_IMAGE_PIXELS or math.inf):  # Pillow's own limit; it warns above
        Image.MAX_IMAGE_PIXELS = int(most)
    try:
        image = Image.open(io.BytesIO(content), formats=tuple(FORMATS))
    except UnidentifiedImageError as error:
        raise ValueError(f"not a valid image: expected {', '.join(FORMATS)}") from error
    except Image.DecompressionBombError as error:
        check_size(int(re.findall(r"\d+", str(error))[0]))
        raise ValueError(str(error)) from error
    check_size(*image.size)
    return image, _further(image)


def regular(file: str) -> int:
    """Return the size of a file in bytes. Raises `ValueError` unless it is a regular file."""
    path = Path(file)
    try:
        status = path.stat()
    except FileNotFoundError as error:
        link = path.readlink() if path.is_symlink() else None
        gone = f"a link to {link}, which does not exist" if link else "no longer there"
        raise ValueError(gone) from error
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    return status.st_size


def check_size(*shape: int) -> None:
    """Raise `ValueError` for an image of more pixels than `project.BOUNDS` allow."""
    if more := bounded("megapixels", math.prod(shape) / 1e6):
        sides = " x ".join(f"{side:,}" for side in shape)
        raise ValueError(f"{sides} px: cut out the galaxy; {more}")


def left_out(names: Iterable[str], endings: tuple[str, ...]) -> list[str]:
    """Count the files of other types by ending, as a note: `left out: 3 .txt, 2 .eps`."""
    others = [name for name in names if not name.lower().endswith(endings)]
    ends = (re.search(r"((\.fits?)?\.\w+)?$", name.lower()) for name in others)
    counts = Counter((end and end[0]) or "without ending" for end in ends)
    each = ", ".join(f"{count:,} {ending}" for ending, count in counts.most_common(10))
    return [f"{LEFT_OUT}{each} (other types of files)"] if others else []


def instead(notes: Sequence[str]) -> str:
    """Return what a folder holds instead of images, from `left_out`, and how to read it."""
    if not notes:
        return ""
    found = notes[0].removeprefix(LEFT_OUT).partition(" (")[0]
    ways = {".fit": "FITS images are read by name: fits", ".zip": "give the zip itself"}
    ways |= {".parquet": "Parquet files are read by name: parquet"}
    ways |= dict.fromkeys((".h5", ".hdf5"), "HDF5 files are read by name: table or galaxy10")
    use = [f"; {way}" for end, way in ways.items() if end in found]
    return f"; found {found}{''.join(use[:1])}"


def _further(image: Image.Image) -> str:
    """Say that only the first page or frame of an image is read.

    Raises `ValueError` if the pages of a TIFF file are alike and grey: they may be bands."""
    if not getattr(image, "is_animated", False):
        return ""
    if image.format == "TIFF":
        size, mode = image.size, image.mode
        image.seek(1)
        alike = (image.size, image.mode) == (size, mode)
        image.seek(0)
        if alike and mode not in ("RGB", "RGBA", "CMYK"):
            what = "several grey pages: if they are bands"
            raise ValueError(f"{what}, save them as one RGB page, or as FITS images")
    return "only the first of several pages or frames was read"


# --- decoding -------------------------------------------------------------------------------------


def to_rgb(image: Image.Image) -> File:
    """Decode an image of any Pillow mode to RGB; return also a remark or "".

    Grey is copied to three channels, 16 bits become 8, transparent pixels are laid on black.
    Raises `ValueError` for 32-bit or floating-point pixels, which do not define black and white."""
    if image.format == "JPEG":
        load_jpeg(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image, ""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        if getattr(image, "tag_v2", {}).get(262) == 0:  # white is zero; Pillow knows it in 8 bits
            values = 65535 - values
        image = Image.fromarray(np.round(values / 257).astype(np.uint8))  # 65535 / 255
    if image.mode in ("F", "I"):
        raise ValueError("32-bit or floating-point pixels do not define white: convert to 16 bits")
    if image.mode == "P" or image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            return Image.alpha_composite(black, image).convert("RGB"), "transparent: laid on black"
    try:
        return image.convert("RGB"), ""
    except ValueError as error:
        raise ValueError(f"colours of type {image.mode}: convert to RGB") from error


UNWRITTEN = (3, 251, 7, 99)  # a colour of no galaxy
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # the end of a scan


def load_jpeg(image: Any) -> None:
    """Decode a JPEG file of one scan, and see how many blocks its data have.

    libjpeg goes on after damage, with grey or shifted blocks, and Pillow drops its warnings. But
    damaged data nearly always have another number of blocks, or a marker amid them: here the last
    row must be missing without the last two bytes, and be there with them. Of 8,276 real galaxies
    all pass; with 300 damaged bytes 3 % do. Raises `ValueError` for the others."""
    content, start = image.fp.getvalue(), 2
    while content[start + 1] != 0xDA:  # skip the segments before the scan
        start += 2 + int.from_bytes(content[start + 2 : start + 4])
    scan, bands = start, image.getbands()
    end = MARKER.search(content, scan + 2 + int.from_bytes(content[scan + 2 : scan + 4]))
    several = image.info.get("progressive") or content[scan + 4] != len(bands)
    if several or end is None:  # without an end, Pillow says that it is truncated
        return
    if end[0] != b"\xff\xd9":
        raise ValueError(DAMAGED)
    body = content[: end.start()].rstrip(b"\xff")
    width, height = image.size
    ink = UNWRITTEN[: len(bands)] if len(bands) > 1 else UNWRITTEN[1]
    image.load_prepare()
    image.im.paste(ink, (0, 0, width, height))
    name, box, _, how = image.tile[0]
    decoder = Image._getdecoder(image.mode, name, how, image.decoderconfig)  # pyright: ignore
    decoder.setimage(image.im, box)

    def missing(data: bytes) -> bytes | None:
        """Decode more; return what is left of the data if the last row is still missing."""
        used, _ = decoder.decode(data)
        row = {image.im.getpixel((x, height - 1)) for x in range(0, width, -(-width // 16))}
        return data[max(used, 0) :] if row == {ink} else None

    left = missing(body[:-2])
    if left is None or missing(left + body[-2:] + b"\xff\x00" * 8) is not None:
        raise ValueError(DAMAGED)
    image.tile = []  # it is decoded
