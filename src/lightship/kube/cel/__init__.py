"""The Common Expression Language with Kubernetes' libraries: rules of schemas and policies.

Pure. ``syntax`` reads an expression, ``compile`` checks its types and turns it into closures over plain JSON data,
``library`` holds what it may call, ``values`` what JSON has no type for. Ours rather than a package: every
evaluation here has a budget (a rule of three nested loops must not hold the server), values are not copied for each
rule, optionals are known, and wrong fields are found when the expression is compiled.
"""

from lightship.kube.cel.compile import Program, compile
from lightship.kube.cel.errors import BudgetExceeded, CelError, CompileError
from lightship.kube.cel.functions import Function
from lightship.kube.cel.types import BOOL, DYN, STRING, Type, of_schema
from lightship.kube.cel.values import Optional

__all__ = ["BOOL", "DYN", "STRING", "BudgetExceeded", "CelError", "CompileError", "Function", "Optional", "Program",
           "Type", "compile", "of_schema"]
