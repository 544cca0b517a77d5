"""What a run shows to its reader: rows, a table, figures."""
