"""Fine-tuning and pretraining with Lightning; imports neither hydra nor mlflow."""
