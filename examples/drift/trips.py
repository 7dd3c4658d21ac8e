"""Send trips to the graph ``drift``, ten at a time; ``--longer`` makes them half as long again."""

from __future__ import annotations

import argparse

import numpy as np

from anabranch.cli.options import client

ROWS = 10


def trips(rows: int, longer: bool, random: np.random.Generator) -> dict[str, object]:
    """An inference request for so many trips."""
    kilometres = random.gamma(3.0, 2.0, rows) * (1.5 if longer else 1.0)
    hours = random.uniform(6, 22, rows)
    trip = np.column_stack([kilometres, hours]).astype(np.float32)
    vehicles = random.choice(["bike", "car", "van"], rows, p=[0.2, 0.6, 0.2])
    return {
        "inputs": [
            {"name": "trip", "datatype": "FP32", "shape": [rows, 2], "data": trip.ravel().tolist()},
            {"name": "vehicle", "datatype": "BYTES", "shape": [rows], "data": vehicles.tolist()},
        ]
    }


def main() -> None:
    """Send them to the engine that runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longer", action="store_true", help="longer trips than usual")
    parser.add_argument("--count", type=int, default=2000, help="how many trips")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    random = np.random.default_rng([asked.seed, asked.longer])
    with client(None) as engine:
        for _ in range(asked.count // ROWS):
            engine.infer("drift", trips(ROWS, asked.longer, random))
    print(f"sent {asked.count // ROWS * ROWS} trips; see `anabranch monitors drift`")


if __name__ == "__main__":
    main()
