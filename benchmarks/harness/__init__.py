"""The parts of the harness, in the order in which they build on each other.

randomness, files, options   what every other module may use
command                      how a command ends: exit code, error, the way to go on
pickles, readers, data       images from disk to one tensor on the device
attacks                      one projected-gradient engine for every attack
norms, record, machine       devices and processes, by way of accelerate; batch norm over processes, CUDA graphs
verdicts, checkpoints        what attacks said of each image, and trained networks, on files
autoattack, measures         AutoAttack in shards that resume; stability and Lipschitz constants
evaluate                     the table of all measures
losses, weights, train       the training methods; a network trained, with checkpoints
examples, unit               one network trained and measured in a folder: what runs and sweeps are made of
statistics, folder, progress spread and tests over seeds; where a run writes; what it shows
report, plots, page          tables, figures and the HTML page
study, sweep                 the whole: an Experiment with its two networks, or many networks on Ray
later, leaderboard           a finished run attacked further, and exported for RobustBench
"""
