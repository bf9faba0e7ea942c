"""MONAI Label's own ``sam_2d`` behind its own server, with random hiera-tiny weights.

Nothing is downloaded: the checkpoint is generated into the place where MONAI Label looks for it.
Times do not depend on the weights.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

__all__ = ["StockServer"]

_APP = """
from monailabel.interfaces.app import MONAILabelApp
from monailabel.sam2.infer import Sam2InferTask
import os


class Stock(MONAILabelApp):
    def __init__(self, app_dir, studies, conf):
        super().__init__(app_dir, studies, conf, name="stock", labels=["tumour"])

    def init_infers(self):
        return {"sam_2d": Sam2InferTask(model_dir=os.path.join(self.app_dir, "model"), dimension=2, labels=["tumour"])}

    def init_strategies(self):
        return {}
"""


class StockServer:
    """MONAI Label serving one folder of images.

    Args:
        folder: for app, weights and log.
        studies: images.
    """

    def __init__(self, folder: Path, studies: Path) -> None:
        app = folder / "app"
        (app / "model").mkdir(parents=True)
        (app / "main.py").write_text(_APP)
        _weights(app / "model")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ,
            "MONAI_SAM_MODEL_PT": "file:///nowhere/sam2_hiera_tiny.pt",
            "MONAI_SAM_MODEL_CFG": "file:///nowhere/sam2_hiera_t.yaml",
            "MONAI_LABEL_TRACKING_ENABLED": "false",
            "MONAI_LABEL_DATASTORE_AUTO_RELOAD": "false",
            "MONAI_LABEL_DATASTORE_CACHE_PATH": str(folder / "cache"),
        }
        command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app)]
        command += ["--studies", str(studies), "--host", "127.0.0.1", "--port", str(port)]
        self._log = folder / "stock.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self._wait()

    def click(self, image: str, voxel: tuple[int, int, int]) -> tuple[float, int]:
        """One click as its Slicer plugin sends it: (seconds, bytes of the reply)."""
        params = {
            "foreground": [list(voxel)],
            "background": [],
            "roi": [],
            "device": "cpu",
            "result_extension": ".nrrd",
            "result_dtype": "uint8",
            "result_compress": False,
        }
        start = time.perf_counter()
        reply = requests.post(
            f"{self.url}/infer/sam_2d", params={"image": image}, data={"params": json.dumps(params)}, timeout=300
        )
        spent = time.perf_counter() - start
        reply.raise_for_status()
        return spent, len(reply.content)

    def stop(self) -> None:
        """End the server."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if requests.get(f"{self.url}/info/", timeout=5).ok:
                    return
            except requests.RequestException:
                time.sleep(0.3)
        tail = self._log.read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"MONAI Label did not start:\n{tail}")


def _weights(folder: Path) -> None:
    """Random hiera-tiny weights and the configuration, where ``download_file`` finds them already there."""
    script = (
        "import sys, torch; from sam2.build_sam import build_sam2; torch.manual_seed(0);"
        "torch.save({'model': build_sam2('configs/sam2/sam2_hiera_t.yaml', None, device='cpu').state_dict()},"
        " sys.argv[1])"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, str(folder / "sam2_hiera_tiny.pt")], check=True)
    import sam2

    shutil.copy(Path(sam2.__file__).parent / "configs" / "sam2" / "sam2_hiera_t.yaml", folder)
