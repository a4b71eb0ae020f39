"""The harness: trains a network and its -R variant adversarially, attacks them and compares them.

Its rooms, each importing only from those before it:

experiment, sweep, options   the schema: experiments as values, and how to run them
files, randomness, verdicts  what every room may use; also checkpoints (runs read back) and command (exit codes)
data                         images from disk to one tensor on the device
machine                      devices and processes, by way of accelerate
attacks                      one projected-gradient engine for every attack; AutoAttack in shards
measuring                    the table of all measures
training                     the training methods; a network trained, with checkpoints
jobs                         one network trained and measured in a folder
reports                      tables, tests over seeds, figures, the HTML page
studies                      two networks compared, many swept over on Ray, a finished run attacked further or exported
"""
