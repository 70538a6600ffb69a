"""Sandboxes: where code runs. One protocol (`base`), and a child IPython kernel (`child`)."""
