"""Classify a photo with the network beside this file: python run_openvino.py PHOTO (pip install openvino pillow)."""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
from PIL import Image, ImageOps

file = sorted(Path(__file__).resolve().parent.glob("*.xml"))[0]
model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
classes = json.loads(openvino.Core().read_model(file).get_rt_info(["classes"]).astype(str))
given = model.input(0)  # [batch, side, side, channels]: uint8 of 0 to 255, or float32 of 0 to 1
side, channels = given.partial_shape[1].get_length(), given.partial_shape[3].get_length()

photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("L" if channels == 1 else "RGB")
pixels = np.asarray(ImageOps.fit(photo, (side, side)), dtype=np.uint8).reshape(1, side, side, channels)
images = pixels if given.element_type == openvino.Type.u8 else pixels.astype(np.float32) / 255
logits = model(images)[0][0]
probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
for place in probabilities.argsort()[::-1][:3]:
    print(f"{classes[place]}: {probabilities[place]:.3f}")
