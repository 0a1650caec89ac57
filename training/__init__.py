"""How policies come to be: training, validation, export, evaluation and benchmarks."""

from training.evaluate import evaluate
from training.evaluation import Evaluation

__all__ = ["Evaluation", "evaluate"]
