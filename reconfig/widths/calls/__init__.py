"""What each torch call does to widths: one family of calls a file, each with its table.

Three things can happen to a call. It is *handled* (it is in ``HANDLERS``, perhaps as *elementwise*: its output has the
broadcast shape of its inputs), or it is *unknown*: then every width that flows into it is frozen, with the call and its
source line as the reason.
"""

from reconfig.widths.calls.elementwise import ELEMENTWISE
from reconfig.widths.calls.factories import FACTORIES
from reconfig.widths.calls.joining import JOINING
from reconfig.widths.calls.layers import LAYERS
from reconfig.widths.calls.norms import NORMS
from reconfig.widths.calls.products import PRODUCTS
from reconfig.widths.calls.shapes import SHAPES
from reconfig.widths.calls.spatial import SPATIAL
from reconfig.widths.calls.table import Handler, joined
from reconfig.widths.calls.unknown import unknown

HANDLERS = joined(LAYERS, NORMS, ELEMENTWISE, SPATIAL, JOINING, SHAPES, PRODUCTS, FACTORIES)

__all__ = ["HANDLERS", "Handler", "unknown"]
