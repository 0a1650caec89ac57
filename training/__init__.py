"""How policies come to be: training, validation, export, evaluation and benchmarks."""
