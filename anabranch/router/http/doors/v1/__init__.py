"""The door for KServe's and TensorFlow Serving's V1 protocol over HTTP; not its list of models."""
