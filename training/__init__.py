"""How policies come to be: training, validation, export, evaluation and benchmarks."""

from training.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
