"""The parts of what judges rewritten models, in the order in which they build on each other.

models                   the lists of models, zoo.json and beyond.json, and how each is built
listing                  all of timm as a list, models of equal shapes once
row                      what is noted of a model: a row of the table
sight                    what is seen of a model from outside: hooks, fingerprints, CPU seconds
losses                   what networks beyond classification are trained on
training                 a forward and backward pass
widths, stages, counts   the judgements: convolutions, timm's feature_info, parameters and multiply-adds
judge                    all of that of one model
depth                    a block less and a block more in each stage of one model
peer                     torch-pruning on the same models
workers                  processes with time limits, and all models over them
table                    rows as a CSV
summary, depth_summary   rows as markdown
"""
