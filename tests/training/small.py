"""A run of the trainer that is small enough for a test, and what is read from its folder."""

import csv

import numpy as np

SMALL = {
    "seed": 3,
    "workers": 1,
    "fragment": 24,
    "minibatch": 64,
    "epochs": 1,
    "validate_every": 1,
    "validation_seeds": 1,
    "final_seeds": 1,
    "finalists": 2,
    "width": 16,
}


def weights(folder):
    with np.load(folder / "best" / "weights.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def tags(folder):
    return {row["tag"] for row in rows(folder)}
