"""From the run log to a table, a verdict in one sentence, and one self-contained HTML file.

This room reads records and nothing else: it imports no model, no training and no torch.
"""

from tutelage.report.html import render, write_report
from tutelage.report.paired import Paired, paired, t_quantile
from tutelage.report.results import build_results
from tutelage.report.table import COLUMNS, rows, text_table
from tutelage.report.verdict import judge

__all__ = [
    "COLUMNS",
    "Paired",
    "build_results",
    "judge",
    "paired",
    "render",
    "rows",
    "t_quantile",
    "text_table",
    "write_report",
]
