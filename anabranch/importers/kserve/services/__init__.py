"""InferenceService and TrainedModel: their components as nodes; nothing about InferenceGraphs."""
