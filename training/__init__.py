"""Training, validation, export, evaluation and benchmarks of policies."""

from training.evaluation.evaluate import evaluate
from training.evaluation.results import Evaluation

__all__ = ["Evaluation", "evaluate"]
