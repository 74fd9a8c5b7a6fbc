"""Open image files and convert them to RGB."""

import io
import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image, UnidentifiedImageError

IMAGES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

RGB = tuple[UInt8[ndarray, "height width 3"], str]  # pixels, and what was repaired, or ""
File = tuple[Image.Image, str]  # the same for an image file not yet decoded


def read_image(file: str, archive: zipfile.ZipFile | None = None) -> File:
    """Open a JPEG, PNG or TIFF file, optionally inside a zip; `cutouts.cutout` decodes it."""
    path = Path(file)
    try:
        return image_of(archive.read(file) if archive else path.read_bytes())
    except FileNotFoundError as error:
        link = path.readlink() if path.is_symlink() else None
        gone = f"a link to {link}, which does not exist" if link else "no longer there"
        raise ValueError(gone) from error


def image_of(content: bytes) -> File:
    """Open an encoded image; raise `ValueError` unless it is JPEG, PNG or TIFF."""
    try:
        return Image.open(io.BytesIO(content)), ""
    except UnidentifiedImageError as error:
        raise ValueError("not a valid JPEG, PNG or TIFF file") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any Pillow mode to RGB.

    Grey is copied to three channels, 16 bits become 8, transparency is dropped. Raises `ValueError`
    for 32-bit or floating-point pixels, which do not define black and white."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))  # 65535 / 255
    if image.mode in ("F", "I"):
        raise ValueError("32-bit or floating-point pixels do not define white: convert to 16 bits")
    if image.mode == "P":  # some kinds of transparency cannot be converted directly
        image = image.convert("RGBA")
    return image.convert("RGB")
