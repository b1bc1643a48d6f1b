"""The Ray Data jobs: clips in, Parquet out; the data set's format, reading, splitting and reports.

`pipelines.dataset` reads a data set and imports no Ray.
"""
