"""Prompting a model while looking: sessions at the site, their prompts, their replies, and undo in step.

Voxels are (i, j, k) of the image as stored; boxes are (i0, j0, k0, i1, j1, k1) with both corners inside; arrays of the
library are [k, j, i].
"""
