"""Encoder features of slices: computed once, kept in memory and on disk, fetched ahead of the annotator."""
