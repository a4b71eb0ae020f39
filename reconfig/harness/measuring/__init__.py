"""What is measured of a network on test images."""
