"""Builds the weights that ship with the embedded engine (`make embedded-models`). Nothing here is part of the wheel."""
