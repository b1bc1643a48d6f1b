"""Data sets of synthetic people, made like any other: shard by shard, by Ray Data."""
