"""The only code that a measuring kit carries: standard library, numpy, onnxruntime; Python 3.9."""
