"""The training methods, and a network trained by one of them, with checkpoints."""
