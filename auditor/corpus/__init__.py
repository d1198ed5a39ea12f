"""Many files: scan them into one Parquet file, search it by style, find copies in it, draw it.

    names ─► head (size, hashes, base) ─► `auditor.check` on those in scope ─► rows ─► journal ─► OUT.parquet
                                                                                 └─► search · duplicates · map

The verdicts are those of `audit check`: the same function makes them.  pyarrow, usearch, ray and umap are extras,
imported inside the functions that need them.
"""
