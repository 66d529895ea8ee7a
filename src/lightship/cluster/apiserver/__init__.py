"""The Kubernetes API of the embedded cluster: one ``handle(request)`` behind every transport."""
