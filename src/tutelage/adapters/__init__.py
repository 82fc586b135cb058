"""tutelage inside other frameworks: one folder or file each, which imports its framework."""
