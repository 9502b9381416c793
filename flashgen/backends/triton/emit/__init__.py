"""``Program`` + ``Plan`` -> source text and manifest."""
