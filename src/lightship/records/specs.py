"""Compiled pipelines, each kept once under its digest. The query modules of runs and pipeline versions call me."""

from __future__ import annotations

import hashlib

import msgspec
from sqlalchemy import select
from sqlalchemy.engine import Connection

from lightship.kube.objects import Object
from lightship.records import schema, statements


def keep(connection: Connection, spec: Object) -> str:
    """Stores ``spec`` unless it is there; returns the digest that names it."""
    digest = digest_of(spec)
    statements.upsert(connection, schema.specs, [{"digest": digest, "body": spec}], replace=False)
    return digest


def digest_of(spec: Object) -> str:
    """The digest of the specification's JSON, whatever the order of its fields."""
    return "sha256:" + hashlib.sha256(msgspec.json.encode(spec, order="deterministic")).hexdigest()


def load(connection: Connection, digest: str) -> Object:
    body: Object = connection.execute(select(schema.specs.c.body).where(schema.specs.c.digest == digest)).scalar_one()
    return body
