"""Core ML, converted from the traced network. It runs on Apple's systems only, so that the file is not checked elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from ofa.deploy.formats.format import Deployable, Images, Precision
from ofa.deploy.formats.onnx_graph import ImageInput
from ofa.deploy.formats.quiet import quiet
from ofa.files.bundle import ZIP_DATE


class CoremlFormat:
    """An ML program (.mlpackage), packed as a zip file; its input is float32, pixels as they are."""

    name = "coreml"
    suffix = ".mlpackage.zip"
    extra = "coreml"
    packages = ("coremltools",)
    precisions: tuple[Precision, ...] = ("fp32",)
    runs_here = False
    example = None

    def convert(self, source: Deployable, precision: Precision, calibration: Images | None, file: Path) -> list[Path]:
        """Implement `Format.convert`."""
        import torch

        from ofa.deploy.formats.camera_net import CameraNet

        image = source.image
        net = CameraNet(source, as_uint8=image.as_uint8).eval()
        shape = (1, image.side, image.side, len(image.mean))
        package = file.with_name(file.name.removesuffix(".zip"))
        with quiet():
            import coremltools

            traced = torch.jit.trace(net, torch.zeros(shape))  # type: ignore[no-untyped-call]
            model = coremltools.convert(
                traced,
                inputs=[coremltools.TensorType("images", shape=shape)],
                outputs=[coremltools.TensorType("logits")],
                compute_precision=coremltools.precision.FLOAT32,
                convert_to="mlprogram",
                skip_model_load=True,
            )
            model.user_defined_metadata.update(source.facts)
            model.save(str(package))
            _sort_maps(package)
        _pack(package, file)
        shutil.rmtree(package)
        return [file]

    def runner(self, file: Path, image: ImageInput) -> None:
        """Implement `Format.runner`: there is none."""
        return


def _sort_maps(package: Path) -> None:
    """Write the models of a package again, with the entries of maps in order: by default each process has its own order."""
    from coremltools.proto import Model_pb2

    for path in package.rglob("*.mlmodel"):
        model = Model_pb2.Model()
        model.ParseFromString(path.read_bytes())
        path.write_bytes(model.SerializeToString(deterministic=True))


def _pack(package: Path, file: Path) -> None:
    """Pack a package such that one network always gives the same bytes."""
    manifest = package / "Manifest.json"
    content = json.loads(manifest.read_text())
    entries = content["itemInfoEntries"]
    in_order = sorted(entries, key=lambda name: str(entries[name]["path"]))
    numbers = {name: f"00000000-0000-0000-0000-{i:012}" for i, name in enumerate(in_order)}
    content["itemInfoEntries"] = {number: entries[name] for name, number in numbers.items()}
    content["rootModelIdentifier"] = numbers[content["rootModelIdentifier"]]
    manifest.write_text(json.dumps(content, indent=4))
    with ZipFile(file, "w") as archive:
        for path in sorted(path for path in package.rglob("*") if path.is_file()):
            archive.writestr(ZipInfo(str(path.relative_to(package.parent)), ZIP_DATE), path.read_bytes())
