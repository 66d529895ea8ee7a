"""The composition root: puts the rooms together into the programs that ``lightship`` runs. ``app`` calls me.

I alone see every room. ``platform`` is the server of ``lightship up``; ``cluster`` its embedded cluster, ``domains``
what Kubeflow adds, ``rest`` its HTTP side, ``proxy`` the gateway's process; ``remote`` is ``lightship controllers``.
"""

from lightship.composition.platform import serve
from lightship.composition.remote import control

__all__ = ["control", "serve"]
