"""Plans by measuring: the candidates of a search compiled side by side and timed on the GPU at hand."""
