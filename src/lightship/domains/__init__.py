"""What Kubeflow adds to Kubernetes; one room a domain, all with the same furniture."""
