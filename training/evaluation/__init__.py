"""Evaluation of frozen controllers on equal seeds: results, tables as files, pictures."""
