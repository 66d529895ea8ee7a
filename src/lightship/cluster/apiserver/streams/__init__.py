"""Connections that leave HTTP: exec, attach and port-forward, over WebSockets and SPDY."""
