"""What each role asks a model and how its answer is read. Pure: values in, values out."""
