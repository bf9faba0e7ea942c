"""What travels between the sites of a federation: plans, payloads, methods and their carriers.

This package never imports ``monailabel`` or ``monailabel_app``: it knows adapter tensors and
figures, never images or labels.
"""

__version__ = "0.1.0"
