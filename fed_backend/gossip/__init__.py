"""Exchanges between peers without a hub (GCML, :mod:`fed_backend.methods.gcml`)."""
