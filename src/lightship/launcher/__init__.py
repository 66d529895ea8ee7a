"""Moves a pipeline step's files: inputs in before its command runs, outputs out after, the commit record last.

I run beside a step, in the Pods that ``domains/pipelines`` makes: on a real cluster as the program of an init container
and of a sidecar (``python -m lightship.launcher``), on the embedded node inside its process. I stand alone: standard
library only, Python 3.8 and later, nothing imported from the rest of the package.
"""
