"""Attacks on images: the projected-gradient engine, and AutoAttack in shards that resume."""
