"""Kinds that users define: CustomResourceDefinitions and what they make the server do.

``server`` builds a ``registrar.Registrar``, which keeps the registry in step with the definitions in the store.
``definition`` defaults and checks a definition, ``structural`` its schemas; ``walker`` compiles a schema into one pass
over an object that prunes, defaults and validates; ``rules`` adds its CEL rules; ``serving`` makes what the registry
holds of it.
"""
