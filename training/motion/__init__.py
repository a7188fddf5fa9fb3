"""Training of the motion network: teacher, distillation, evaluation."""
