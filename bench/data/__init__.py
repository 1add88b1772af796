"""Problems: where they come from, how they are asked, and how they become batches."""
