"""A callback for ``lightning`` that gives networks of a LightningModule their -R variant before training begins.

    from lightning.pytorch import Trainer
    from reconfig.plugins.lightning import Reconfigure

    Trainer(callbacks=[Reconfigure("10-10-4", gamma=1.5)]).fit(module, data)

For the package ``pytorch_lightning`` import it from ``reconfig.plugins.pytorch_lightning``.
"""

from lightning.pytorch import Callback

from reconfig.plugins.callback import Rewriting


class Reconfigure(Rewriting, Callback):  # type: ignore[misc]
    """Rewrites networks of a LightningModule in ``setup``; see ``reconfig.plugins.callback.Rewriting``."""
