"""Commands beside the pipeline: check, convert, show, doctor, export-onnx."""
