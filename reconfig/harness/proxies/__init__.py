"""Zero-cost proxies: what is said to foretell a network's robust accuracy before it is trained, with its source."""
