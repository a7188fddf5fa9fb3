"""Everything that happens before the product runs: corpus, teacher, training, evaluation."""
