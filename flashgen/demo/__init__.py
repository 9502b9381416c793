"""``flashgen demo``: from a spec of the gallery to a checked kernel, in front of the user's eyes."""
