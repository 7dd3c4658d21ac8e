"""Takes what a replica's process counts, logs and holds to Ray and to the controller."""
