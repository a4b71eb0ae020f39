"""The harness: trains a network and its -R variant adversarially, attacks both and compares them.

    from reconfig.harness import Data, Experiment, Network, Train, run

    experiment = Experiment(
        original=Network("zoo:vgg11"),
        variant=Network("zoo:vgg11", rule="10-10-4"),
        data=Data("digits"),
        train=Train(epochs=1),
    )
    print(run(experiment, out="runs/digits"))

Its rooms, each importing only from those after it:

studies                      two networks compared, many swept over or searched, a finished run attacked or exported
reports                      tables, tests over seeds, figures, the HTML page
jobs                         one network trained and measured in a folder
training                     the training methods; a network trained, with checkpoints
measuring                    the table of all measures
proxies                      what is said to foretell robust accuracy before training, beside the measures
attacks                      one projected-gradient engine for every attack; AutoAttack in shards
machine                      devices and processes, by way of accelerate
data                         images from disk to one tensor on the device
experiment, sweep, search,   the schema: experiments, sweeps and searches as values
options                      how to run them; also fields and paper
network, building            a network by its name, and built for images
files, randomness, verdicts  what every room may use; also records (JSON), checkpoints (runs read back), command

Importing it imports no torch: a public name brings its module when it is first used. The names are those of
``__init__.pyi``.
"""

from importlib.util import find_spec

import lazy_loader

_NEEDED = (
    *("PIL", "accelerate", "filelock", "jinja2", "matplotlib", "pyarrow", "pyautoattack", "rich", "safetensors"),
    *("scipy", "sklearn", "tensorboard", "torchvision", "tyro"),
)
_missing = [name for name in _NEEDED if find_spec(name) is None]
if _missing:
    raise ImportError(
        f"reconfig.harness needs {', '.join(_missing)}, which the package alone does not install:"
        " pip install 'robust-reconfig[bench]'"
    )

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
