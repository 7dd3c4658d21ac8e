"""The Open Inference Protocol v2 and its extensions in JSON and binary; gRPC is in ``grpc``."""
