"""The environment in which a step was executed, for its `environment.json`."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import galaxymorph

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn")  # whose versions affect results


def environment() -> dict[str, Any]:
    """Return versions of Python and packages, git commit and changed files, and the machine."""
    import torch  # only needed by notebooks, which have loaded it

    return {
        "galaxymorph": galaxymorph.__version__,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_changes": (_git("status", "--porcelain", "--untracked-files=no") or "").splitlines(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def cores() -> int | None:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _git(*arguments: str) -> str | None:
    """Output of git for the checkout of this package; None if it is installed, or without git."""
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", checkout, *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", info.read_text()) if info.is_file() else []
    return names[0] if names else platform.processor()
