from .attacks.gradient import ATTACKS as ATTACKS, attack as attack
from .checkpoints import load_network as load_network
from .data.augmentation import as_floats as as_floats
from .data.dataset import Dataset as Dataset, load_dataset as load_dataset
from .data.split import Split as Split
from .experiment import (
    TRAINING as TRAINING,
    AnyNetwork as AnyNetwork,
    Attack as Attack,
    Compute as Compute,
    Data as Data,
    Evaluate as Evaluate,
    Experiment as Experiment,
    Setting as Setting,
    Threat as Threat,
    Train as Train,
    WeightPerturbation as WeightPerturbation,
)
from .network import Network as Network
from .normalised import Normalised as Normalised
from .paper import PaperRow as PaperRow, Reported as Reported
from .studies.comparison import run as run
from .sweep import Compare as Compare, Configuration as Configuration, Sweep as Sweep, Variants as Variants
