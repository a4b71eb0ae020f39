"""``reconfig.plugins.lightning`` for the package that is called ``pytorch_lightning``.

from pytorch_lightning import Trainer
from reconfig.plugins.pytorch_lightning import Reconfigure
"""

from pytorch_lightning import Callback

from reconfig.plugins.callback import Rewriting


class Reconfigure(Rewriting, Callback):  # type: ignore[misc]
    """Rewrites networks of a LightningModule in ``setup``; see ``reconfig.plugins.callback.Rewriting``."""
