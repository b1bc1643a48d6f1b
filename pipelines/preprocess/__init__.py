"""Preprocessing: clips in, shards of Parquet out, on Ray Data."""
