"""``run.py`` and ``mapping`` are a script and its table: not modules to look for doctests in."""

collect_ignore_glob = ["run.py", "mapping/*.py"]
