"""A recorded forward pass, read in widths: which channel counts there are, and which must stay equal."""
