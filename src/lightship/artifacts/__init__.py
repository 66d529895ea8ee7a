"""Where the bytes of artifacts lie: models, data sets, reports, named by URI and known by digest.

Domains, the node and ``app`` call me. ``store`` is the seam, ``local`` keeps files under the data directory.
"""
