"""One network trained and measured in a folder: what comparisons and sweeps are made of."""
