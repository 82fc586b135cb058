"""What a result depends on beside the recipe: versions, machine, threads."""

import os
import platform
from importlib import metadata

import torch

import tutelage

_PACKAGES = ("numpy", "torchvision", "timm")


def environment() -> dict[str, str | int | None]:
    """Return the versions and the machine, for the run log and the report."""
    found: dict[str, str | int | None] = {
        "tutelage": tutelage.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found | {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
    }
