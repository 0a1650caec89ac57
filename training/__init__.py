"""Training, validation, export, evaluation and benchmarks of policies."""

from training.evaluate import evaluate
from training.evaluation import Evaluation

__all__ = ["Evaluation", "evaluate"]
