"""The report: one page of HTML about the data, features and models of an output."""
