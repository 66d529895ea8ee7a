"""ServingRuntime and ClusterServingRuntime: which program serves which format."""
