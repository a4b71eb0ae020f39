"""A skeleton given new shapes, proven, and filled with weights. Only this package changes modules."""
