"""The notebook face: magics, the live view."""
