"""The parts of the harness, in the order in which they build on each other.

randomness, files, options   what every other module may use
readers, data                images from disk to one tensor on the device
attacks                      one projected-gradient engine for every attack
machine                      devices and processes, by way of accelerate
evaluate, train              accuracies of a network; a network trained, with checkpoints
folder, progress, report     where a run writes, what it shows, what it leaves
study                        the whole: both networks of an Experiment trained, measured and compared
"""
