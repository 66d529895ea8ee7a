"""The main job, shown: a whole machine-learning lifecycle as one KFP pipeline, and the verb that runs it."""
