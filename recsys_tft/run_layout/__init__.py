"""The output of a run: data sets, schemas and artifacts, and their folders."""
