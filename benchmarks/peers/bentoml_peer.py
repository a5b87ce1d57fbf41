"""The same ONNX file behind BentoML, for `serve_load.py compare`.

It batches across requests; onnxruntime has one thread a call, as in tenfold.

    cd benchmarks/peers && MODEL=model.onnx bentoml serve bentoml_peer:Digits --port PORT
"""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1, logging={"access": {"enabled": False}})
class Digits:
    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=60_000)
    def predict(self, images: np.ndarray) -> np.ndarray:
        return self.session.run(["probabilities"], {"images": images.astype(np.uint8)})[0]
