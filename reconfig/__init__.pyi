from . import zoo as zoo
from .api import apply as apply
from .api import count as count
from .api import plan as plan
from .api import stages as stages
from .errors import (
    BudgetError as BudgetError,
)
from .errors import (
    CaptureError as CaptureError,
)
from .errors import (
    DepthError as DepthError,
)
from .errors import (
    ExportError as ExportError,
)
from .errors import (
    FrozenError as FrozenError,
)
from .errors import (
    InputError as InputError,
)
from .errors import (
    ModelError as ModelError,
)
from .errors import (
    PlanError as PlanError,
)
from .errors import (
    ReconfigError as ReconfigError,
)
from .errors import (
    RuleError as RuleError,
)
from .errors import (
    StageError as StageError,
)
from .errors import (
    VerifyError as VerifyError,
)
from .planning.measured import Counted as Counted
from .planning.plan import Frozen as Frozen
from .planning.plan import Plan as Plan
from .planning.plan import StagePlan as StagePlan
from .rule import NAMED as NAMED
from .rule import Rule as Rule
from .saving import load as load
from .saving import save as save
from .staging.stages import Stage as Stage
from .staging.stages import Stages as Stages
from .widths.calls.elementwise import elementwise as elementwise
from .widths.reasons import FrozenKind as FrozenKind
from .widths.register import register as register
from .widths.site import Site as Site
from .widths.structure import Value as Value

__version__: str
