"""What a person reads of a run: rows, a table, figures."""
