"""The only code that a measuring kit carries: standard library, numpy, onnxruntime or ai_edge_litert; Python 3.9."""
