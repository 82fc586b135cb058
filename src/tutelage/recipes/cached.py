"""The part of a teacher's section that names a cache of its answers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tutelage.recipes.section import Section


class CacheSettings(Section):
    """Where a teacher's answers are kept: ``cache: caches/resnet34``, or with options.

    Beside a model, the first run asks it and fills the cache, and later runs read it. Without a
    model the cache must be there: ``tutelage cache build`` makes one.

    Args:
        path: The folder.
        on_miss: What an image does whose answer is not there: stop the run, or ask the model.
        outside: Of a cache that keeps the likeliest classes only, what the others count as: one
            class more (``tail``), not at all on either side (``renormalise``), or nothing, so that
            a student is best that gives them nothing (``ignore``). See ``KDLoss``.
        allow_stale: Read a cache of another teacher, other data or another augmentation all the
            same. The run's log says so.
        views: Of a cache that is to be filled: the random versions that it keeps of each image.
        top_k: Of a cache that is to be filled: how many classes it keeps; default: all.
        dtype: Of a cache that is to be filled: how numbers are kept. Default: fp32, and fp16 where
            the likeliest classes are kept only.
    """

    path: str = Field(min_length=1)
    on_miss: Literal["error", "teacher"] = "error"
    outside: Literal["tail", "renormalise", "ignore"] = "tail"
    allow_stale: bool = False
    views: int = Field(1, ge=1)
    top_k: int | None = Field(None, ge=1)
    dtype: Literal["fp32", "fp16", "bf16"] | None = None


def _bare_path(value: Any) -> Any:
    return value if isinstance(value, Mapping | CacheSettings) else {"path": value}


Cache = Annotated[CacheSettings, BeforeValidator(_bare_path)]
