"""Groups + advantages → a trained model."""
