"""Classify a photo with the network beside this file: python run_onnx.py PHOTO (pip install onnxruntime pillow)."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

file = sorted(Path(__file__).resolve().parent.glob("*.onnx"))[0]
session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
facts = session.get_modelmeta().custom_metadata_map
given = session.get_inputs()[0]  # [batch, side, side, channels]: uint8 of 0 to 255, or float32 of 0 to 1
side, channels = given.shape[2], given.shape[3]

photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("L" if channels == 1 else "RGB")
pixels = np.asarray(ImageOps.fit(photo, (side, side)), dtype=np.uint8).reshape(1, side, side, channels)
images = pixels if given.type == "tensor(uint8)" else pixels.astype(np.float32) / 255
logits = session.run(None, {given.name: images})[0][0]
probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for place in probabilities.argsort()[::-1][:3]:
    print(f"{json.loads(facts['classes'])[place]}: {probabilities[place]:.3f}")
