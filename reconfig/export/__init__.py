"""Networks in files that other people's code reads: one file a format.

from reconfig.export import to_code

plan = reconfig.plan(model, "10-10-4")
robust = plan.apply(model)
to_code(robust, "robust.py", plan)
"""

from reconfig.export.code import to_code
from reconfig.export.onnx import to_onnx
from reconfig.export.safetensors import to_safetensors
from reconfig.export.torch_export import to_torch_export
from reconfig.export.written import Written

__all__ = ["Written", "to_code", "to_onnx", "to_safetensors", "to_torch_export"]
