"""Pipelines: KFP's compiled pipelines, run as Pods, with KFP's REST API.

``domain`` is what a server composes, ``commands`` what the command line registers; each is taken in without the other,
so that a verb starts without a server's imports. A run lives in the records; its key is (namespace, run id).
"""
