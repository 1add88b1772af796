"""The life of a recorded run, fine-tuning or pretraining: cache, lock, resume, failure, record."""
