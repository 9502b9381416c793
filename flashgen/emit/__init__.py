"""``Program`` + ``Plan`` -> source text and manifest, one file per backend."""
