"""Pages, figures, tables and verdicts for people."""
