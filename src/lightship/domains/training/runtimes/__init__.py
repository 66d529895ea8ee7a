"""TrainingRuntime and ClusterTrainingRuntime: templates of JobSets that TrainJobs name."""
