"""Word problems and a pretraining corpus made here, so that nothing has to be downloaded."""
