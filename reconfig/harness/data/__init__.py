"""Image data sets: read from disk, nothing in them executed, into two tensors on the device."""
