"""``python -m fed_backend.demo``, the same as ``fedseg demo``."""

from fed_backend.demo.cli import demo

if __name__ == "__main__":
    demo()
