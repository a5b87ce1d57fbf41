"""The same ONNX file behind LitServe, for `serve_load.py compare`.

It batches across requests; onnxruntime has one thread a call, as in tenfold.

    MODEL=model.onnx python benchmarks/peers/litserve_peer.py PORT
"""

import os
import sys

import litserve
import numpy as np
import onnxruntime


class Digits(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options)

    def decode_request(self, request):
        return np.array(request["images"], np.uint8)

    def batch(self, inputs):
        self.sizes = [len(each) for each in inputs]
        return np.concatenate(inputs)

    def predict(self, images):
        return self.session.run(["probabilities"], {"images": images})[0]

    def unbatch(self, output):
        return np.split(output, np.cumsum(self.sizes)[:-1])

    def encode_response(self, output):
        return output.tolist()


if __name__ == "__main__":
    api = Digits(max_batch_size=64, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", timeout=60)
    server.run("127.0.0.1", int(sys.argv[1]), log_level="error", generate_client_file=False)
