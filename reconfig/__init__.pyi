from . import export as export, networks as networks, zoo as zoo
from .api import apply as apply, count as count, plan as plan, stages as stages
from .errors import (
    BudgetError as BudgetError,
    DepthError as DepthError,
    ExportError as ExportError,
    FrozenError as FrozenError,
    InputError as InputError,
    ModelError as ModelError,
    NetworkError as NetworkError,
    PlanError as PlanError,
    ReconfigError as ReconfigError,
    RuleError as RuleError,
    ScriptError as ScriptError,
    StageError as StageError,
    VerifyError as VerifyError,
)
from .planning.measured import Counted as Counted
from .planning.plan import Frozen as Frozen, Plan as Plan, StagePlan as StagePlan
from .rule import NAMED as NAMED, Rule as Rule
from .saving import load as load, save as save
from .staging.stages import Stage as Stage, Stages as Stages
from .widths.calls.elementwise import elementwise as elementwise
from .widths.reasons import FrozenKind as FrozenKind
from .widths.register import register as register
from .widths.site import Site as Site
from .widths.structure import Value as Value

__version__: str
