"""Adversarial training and evaluation of original networks and their reconfigured variants."""
