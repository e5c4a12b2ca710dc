"""Classify a photo with the network beside this file: python run_tflite.py PHOTO (pip install ai-edge-litert pillow)."""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

folder = Path(__file__).resolve().parent
interpreter = Interpreter(str(sorted(folder.glob("*.tflite"))[0]))
interpreter.allocate_tensors()
given, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
_, side, _, channels = given["shape"]

photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("L" if channels == 1 else "RGB")
pixels = np.asarray(ImageOps.fit(photo, (side, side)), dtype=np.uint8).reshape(1, side, side, channels)
kind = given["dtype"]
scaled = pixels / 255 if kind == np.float32 else pixels.astype(np.float64)
images = (scaled - 128 if kind == np.int8 else scaled).astype(kind)
interpreter.set_tensor(given["index"], images)
interpreter.invoke()
logits = interpreter.get_tensor(result["index"])[0].astype(np.float32)
scale, zero = result["quantization"]
logits = logits if scale == 0 else (logits - zero) * scale
classes = json.loads((folder / "export.json").read_text())["classes"]
probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for place in probabilities.argsort()[::-1][:3]:
    print(f"{classes[place]}: {probabilities[place]:.3f}")
