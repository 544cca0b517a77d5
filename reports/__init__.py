"""Reports of a run: rows, tables, figures."""
