"""What runs reconcilers: informers, keyed work queues, the manager, event recording, leases."""
