"""The whole: an Experiment with its two networks, a sweep on Ray, a finished run attacked further or exported."""
