"""reconfig: make convolutional networks more robust by their shape.

    robust = reconfig.apply(model, rule="10-10-4", gamma=2)
    plan = reconfig.plan(model, "10-10-4", budget="params")
    print(reconfig.stages(model))

After Huang et al., Exploring Architectural Ingredients of Adversarially Robust Deep Neural Networks, NeurIPS 2021.

Importing the package imports nothing else: a public name brings its module, and torch, when it is first used. The
names are those of ``__init__.pyi``.
"""

import lazy_loader

from reconfig import version

__version__ = version.VERSION
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
