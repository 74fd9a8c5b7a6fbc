"""Interactive pages from `assets/`, self-contained as their content security policy enforces."""

import base64
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

ASSETS = Path(__file__).with_name("assets")


def render(template: str, **values: Any) -> str:
    """Fill in a page of `assets/`, all of which extend `page.html`; text is escaped.

    The page runs the script beside it, `<template>.js`, and no other: its policy has the hash."""
    assets = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
    assets.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    script = (ASSETS / template).with_suffix(".js")
    values["script"] = script.read_text(encoding="utf-8") if script.is_file() else ""
    values["hash"] = base64.b64encode(hashlib.sha256(values["script"].encode()).digest()).decode()
    return assets.get_template(template).render(values)


def picture(image: np.ndarray, tile: int) -> str:
    """Return an image as base64-encoded WebP of at most `tile` pixels."""
    picture = Image.fromarray(image)
    picture.thumbnail((tile, tile), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=80)
    return base64.b64encode(file.getvalue()).decode()
