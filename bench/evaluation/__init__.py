"""Generation, answer extraction and scores."""
