"""The modeler's side of the wall: reads runs, and nothing else."""
