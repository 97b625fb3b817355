"""What a run writes, and where: its data sets, schemas and artifacts, and the folders that hold them."""
