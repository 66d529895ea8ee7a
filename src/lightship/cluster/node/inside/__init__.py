"""What runs inside zygotes and containers: standard library only, Python 3.8 and later, under any environment's python.

``zygote.py`` is started as a program and loads its siblings by path; nothing of the package is imported here, and the
node (``cluster/node/processes.py``) speaks to me over sockets only.
"""
