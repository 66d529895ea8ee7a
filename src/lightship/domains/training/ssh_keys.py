"""A pair of ssh keys for one MPI training, of the kind that upstream makes: ECDSA over P-521.

``deps`` gives me to the reconciler. The library is loaded with the first training that needs it, not at a start.
"""

from __future__ import annotations


def make() -> tuple[bytes, bytes]:
    """The private key as PEM, the public one as a line of ``authorized_keys``."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP521R1())
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
                                serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private, public + b"\n"
