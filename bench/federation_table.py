from __future__ import annotations


def write_results(rows, root):
    pass
