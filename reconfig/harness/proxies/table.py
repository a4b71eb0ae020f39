"""The table of all proxies. Each looks at an untrained network and a batch of training images; more is more robust."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from reconfig.harness.experiment import Threat
from reconfig.harness.proxies.croze import croze
from reconfig.harness.proxies.gradients import gradient_norm, synflow
from reconfig.harness.proxies.tangent_kernel import robust_kernel

_ABDELFATTAH = "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, ICLR 2021, section 3.2"


@dataclass(frozen=True)
class Proxy:
    """One proxy."""

    label: str
    source: str
    """Where it was published, and what is other here."""
    compute: Callable[[nn.Module, Tensor, Tensor, Threat], float]
    """(untrained network, images [N, C, H, W] in [0, 1], labels [N], threat) -> its value; the network stays."""


PROXIES: Mapping[str, Proxy] = MappingProxyType(
    {
        "gradient-norm": Proxy(
            "gradient norm under attack", f"{_ABDELFATTAH}; on images attacked by FGSM", gradient_norm
        ),
        "synflow": Proxy(
            "SynFlow under attack",
            "Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS"
            f" 2020, section 6, summed as by {_ABDELFATTAH}; on images attacked by FGSM for an input of ones",
            synflow,
        ),
        "croze": Proxy(
            "CRoZe",
            "Ha et al., Generalizable Lightweight Proxy for Robust NAS against Diverse Perturbations, NeurIPS 2023,"
            " section 3",
            croze,
        ),
        "robust-ntk": Proxy(
            "smallest eigenvalue of the robust NTK",
            "Wu et al., Robust NAS under adversarial training: benchmark, theory, and beyond, ICLR 2024, section 4;"
            " f is the sum of the logits",
            robust_kernel,
        ),
    }
)
"""Every proxy by the name that files use."""
