"""Kubernetes verbs over two transports: HTTP to any cluster, and in process to the embedded one."""
