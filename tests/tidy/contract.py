"""The contract on shape and imports: what the other files here test, in one place, as data.

Change me in the open: a seam added here needs its reason, and a reviewer who agrees.
"""

from __future__ import annotations

MAXIMUM_FILE_LINES = 500
MAXIMUM_FUNCTION_LINES = 70
MAXIMUM_PARAMETERS = 5

# Lower ranks know nothing of higher ones; rooms of one rank do not know each other, unless SAME_RANK says so.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("lightship.errors",),
    ("lightship.settings", "lightship.lib"),
    ("lightship.kube",),
    ("lightship.client", "lightship.records", "lightship.artifacts"),
    ("lightship.runtime",),
    ("lightship.web", "lightship.cli"),
    ("lightship.domains", "lightship.cluster", "lightship.gateway", "lightship.modelserver"),
    ("lightship.daemon",),
    ("lightship.demo",),
    ("lightship.testing",),
    ("lightship.composition",),
    ("lightship.app",),
    ("lightship.__main__",),
)

# Rooms that stand alone: they import the standard library and themselves, and anyone may import them.
ALONE = {
    "lightship.launcher": "runs inside users' Pods, under their Python, from 3.8",
    "lightship.cluster.node.inside": "runs inside users' Pods before anything of ours is there, from Python 3.8",
    "lightship.cluster.node.programs": "runs inside users' Pods, under their Python, from 3.8",
}

# Who may not import whom, inside one rank.
FORBIDDEN = (
    ("lightship.cluster.node", "lightship.cluster.store", "the node reaches the store through client only"),
    ("lightship.cluster.node", "lightship.cluster.apiserver", "the node is a client, as a kubelet is"),
    ("lightship.cluster.builtin", "lightship.cluster.store", "built-in controllers are clients, as upstream's are"),
    ("lightship.cluster.builtin", "lightship.cluster.apiserver", "built-in controllers are clients, as upstream's are"),
    ("lightship.cluster.store", "lightship.cluster.apiserver", "the store knows bytes and revisions, no kinds"),
)

# Own modules that may be imported late, as (importer, imported): reason.
OWN_SEAMS: dict[tuple[str, str], str] = {
    ("lightship.composition.domains", "lightship.artifacts.remote"): "an HTTP client; only --artifacts URL needs it",
    ("lightship.composition.domains", "lightship.artifacts.s3"): "an HTTP client; only --artifacts URL needs it",
    ("lightship.artifacts.routing", "lightship.artifacts.remote"): "an HTTP client; only artifacts in a cloud need it",
    ("lightship.artifacts.routing", "lightship.artifacts.s3"): "an HTTP client; only artifacts in S3 need it",
    ("lightship.artifacts.routing", "lightship.artifacts.gcs"): "an HTTP client; only artifacts in GCS need it",
    ("lightship.artifacts.routing", "lightship.artifacts.gcs_tokens"): "an HTTP client; only artifacts in GCS need it",
    ("lightship.domains.training.initializers", "lightship.artifacts.hub"):
        "an HTTP client; only hf:// needs it",
    ("lightship.domains.training.sources", "lightship.artifacts.remote"): "an HTTP client; only own keys need it",
    ("lightship.domains.training.sources", "lightship.artifacts.s3"): "an HTTP client; only own keys need it",
    ("lightship.composition.tuning", "lightship.lib.grpc"): "only a platform that runs Pods is reported to",
    ("lightship.composition.tuning", "lightship.lib.http2_wire"): "as above",
    ("lightship.artifacts.cache", "lightship.artifacts.archives"): "tarfile and zipfile; only archives need them",
    ("lightship.domains.serving.places", "lightship.artifacts.web"): "an HTTP client; only models on the web need it",
    ("lightship.domains.serving.places", "lightship.artifacts.git"): "only models in repositories need it",
    ("lightship.domains.serving.places", "lightship.artifacts.hub"): "an HTTP client; only hf:// needs it",
    ("lightship.domains.serving.places", "lightship.domains.serving.other_registries"):
        "an HTTP client; only model-registry:// of another registry needs it",
    ("lightship.demo.submission", "lightship.demo.pipeline"): "imports kfp, an extra, in half a second",
    ("lightship.domains.pipelines.commands.launching", "lightship.domains.pipelines.commands.arguments"):
        "the pipeline format and CEL double the command line's start; only a verb that compiles needs them",
    ("lightship.domains.pipelines.commands.launching", "lightship.domains.pipelines.commands.sources"):
        "as above",
    ("lightship.domains.tuning.algorithms.engines", "lightship.domains.tuning.algorithms.tpe"):
        "imports Optuna, an extra; only a worker with such a search needs it",
    ("lightship.domains.tuning.algorithms.engines", "lightship.domains.tuning.algorithms.sequences"):
        "imports scipy, an extra; as above",
    ("lightship.domains.tuning.algorithms.engines", "lightship.domains.tuning.algorithms.evolution"):
        "imports numpy, an extra; as above",
    ("lightship.domains.tuning.algorithms.engines", "lightship.domains.tuning.algorithms.gaussian"):
        "imports scipy, an extra; as above",
}

# Imports that are allowed against the layers, as (importer, imported): reason.
LAYER_SEAMS: dict[tuple[str, str], str] = {}

# Third-party packages that may be imported inside functions, off the start path: each with its reason.
LATE_PACKAGES = {
    "aiohttp": "0.15 s of import; only a remote cluster, downloads and tests need it",
    "alembic": "0.2 s of import; only a database of another revision needs it",
    "cryptography": "0.1 s of import; only a data directory without certificates needs it",
    "rich": "0.1 s of import; only a person at a terminal needs it",
    "sqlalchemy": "0.2 s of import; `lightship status` and its like do without a database",
    "starlette": "the command line does without a web server",
    "uvicorn": "the command line does without a web server",
    "uvloop": "absent on Windows",
    "uv": "found only when an environment is built",
    "yarl": "comes with aiohttp",
    "yaml": "0.03 s of import; only files that people write are YAML",
    "kfp": "an extra: authors use it, the server never",
    "kfp_server_api": "comes with kfp",
    "sklearn": "an extra: only the model server and the demo's steps use it",
    "joblib": "an extra: comes with scikit-learn",
    "numpy": "an extra: comes with scikit-learn",
    "pandas": "the demo's steps only, in their own environment",
    "psycopg": "an extra: PostgreSQL only",
}

# Standard modules that may be imported inside functions.
LATE_STANDARD = {
    "ipaddress": "slow to import; only certificates need it",
    "ctypes": "slow to import; only isolation needs it",
    "platform": "slow to import; only the version page needs it",
    "multiprocessing": "slow to import; only workers need it",
    "sqlite3": "slow to import; only a server opens the store",
    "ssl": "slow to import; only TLS needs it",
    "subprocess": "slow to import",
    "urllib": "urllib.request is slow to import; only the command line and steps use it",
    "http": "slow to import",
    "email": "slow to import",
    "importlib": "importlib.metadata is slow to import",
    "webbrowser": "slow to import",
    "zoneinfo": "slow to import; only a CronJob with a time zone needs it",
    "tarfile": "slow to import; only archives need it",
    "zipfile": "slow to import; only archives need it",
    "fcntl": "absent on Windows",
    "termios": "absent on Windows",
    "tty": "absent on Windows",
    "pwd": "absent on Windows",
    "resource": "absent on Windows",
    "asyncio": "slow to import; the command line's quick verbs do without",
}

# Functions whose body is run elsewhere, so that their imports must be inside: KFP's lightweight components.
COMPONENT_DECORATORS = ("dsl.component", "component", "step")
COPIED_FUNCTIONS = (("lightship.demo.delivery", "call"),)  # KFP copies these into components

# What must not be loaded once `import lightship.app` is done: the start path stays short.
NOT_AT_START = ("kfp", "sklearn", "optuna", "scipy", "numpy", "pandas", "rich", "alembic", "aiohttp", "cryptography",
                "psycopg")

# Text that no tracked file may hold: (a name for it, a regular expression).
FORBIDDEN_TEXT = (
    ("a package registry's host", r"(?i)https?://(?:files|registry|deb|security|pypi|index)\.[\w.-]+"),
    ("an index option", r"--(?:extra-)?index-url\s+\S*//|--find-links\s+\S*/"),
    ("a path of somebody's machine", r"(?<![\w./-])(?:/work/(?:main|shared|\.)|/opt/wheels|/root/\.|/home/[a-z]+/)"),
)
