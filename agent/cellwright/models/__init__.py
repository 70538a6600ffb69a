"""Models: what answers. One protocol (`base`), and those that come along."""
