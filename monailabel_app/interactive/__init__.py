"""Prompting a model interactively: sessions, edits with undo, propagation to 3D, the wire format."""
