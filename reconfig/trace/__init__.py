"""One forward pass of a model, recorded on a copy of it that has no storage."""
