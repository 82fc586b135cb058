"""Teacher outputs on disk: by sample id and view, preallocated, checked at every read."""

from tutelage.cache.decode import Rows
from tutelage.cache.differences import diff
from tutelage.cache.encode import encode
from tutelage.cache.kept import few_kept
from tutelage.cache.manifest import Manifest
from tutelage.cache.mark import differ, marks_of
from tutelage.cache.reader import Reader
from tutelage.cache.spec import Column, Layout, TapSpec
from tutelage.cache.verify import Report, ShardReport, repair, verify
from tutelage.cache.writer import Writer

__all__ = [
    "Column",
    "Layout",
    "Manifest",
    "Reader",
    "Report",
    "Rows",
    "ShardReport",
    "TapSpec",
    "Writer",
    "diff",
    "differ",
    "encode",
    "few_kept",
    "marks_of",
    "repair",
    "verify",
]
