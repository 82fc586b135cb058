"""``run.py`` and ``mapping.py`` are a script and its table: not modules to look for doctests in."""

collect_ignore = ["run.py", "mapping.py"]
