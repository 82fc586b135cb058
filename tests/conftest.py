"""What all tests share."""

import sys
from importlib import import_module
from importlib.metadata import version

# A CUDA build of torchvision cannot be imported beside a CPU build of torch, and fails with more
# than an ImportError. Tests that need it, or timm, then skip as if it were not installed.
if "+cpu" in version("torch"):
    for _name in ("torchvision", "timm"):
        try:
            import_module(_name)
        except Exception:
            sys.modules.update({_name: None})  # type: ignore[dict-item]
