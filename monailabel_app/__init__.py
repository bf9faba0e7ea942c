"""The site: a MONAI Label app that owns its images, corrections and models."""

__version__ = "0.1.0"
