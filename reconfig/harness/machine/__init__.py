"""Where a run computes: devices, processes, CUDA graphs, batch norm over processes, trackers."""
