"""How Pods find their nodes, without I/O: facts, filters, scores, preemption, and the plan of one pass.

``builtin.scheduler`` feeds and applies me.
"""
