"""From Parquet to batches and evaluation pairs."""
