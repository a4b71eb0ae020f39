"""The parts of what judges rewritten models, in the order in which they build on each other.

models                   the lists of models, zoo.json and beyond.json, and how each is built
row                      what is noted of a model: a row of the table
sight                    what is seen of a model from outside: hooks, fingerprints, CPU seconds
losses                   what networks beyond classification are trained on
training                 a forward and backward pass
widths, stages, counts   the judgements: convolutions, timm's feature_info, parameters and multiply-adds
judge                    all of that of one model
peer                     torch-pruning on the same models
workers                  processes with time limits, and all models over them
table, summary           the rows as a CSV and as markdown
"""
